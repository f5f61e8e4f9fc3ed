import numpy as np
import pytest

from cumulant.engine.faults import limiting_faults
from cumulant.engine.gym_vector import episode_seed
from cumulant.engine.vector import make_vector
from cumulant.envs.batched import Batch
from cumulant.errors import EnvironmentFault, UsageError
from cumulant.loading import load_attribute

TOYS = f"{__file__.rpartition('/')[0]}/toys.py"


def roll(envs, steps, seed=0):
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        envs.step(rng.integers(0, 2, envs.num_envs))
        seen.append((envs.obs.copy(), envs.reward.copy(), envs.ended.copy()))
    return seen


def same(a, b):
    return all(np.array_equal(x, y) for step_a, step_b in zip(a, b) for x, y in zip(step_a, step_b))


@pytest.mark.parametrize("env", ["CartPole-v1", f"{TOYS}:Corridor", "FrozenLake-v1"])
def test_a_restored_batch_goes_on_exactly_where_it_was(env):
    envs = make_vector(env, 3, seed=5)
    roll(envs, 37)
    state = envs.state_dict()
    after = roll(envs, 50, seed=1)
    restored = make_vector(env, 3, seed=99)
    restored.load_state_dict(state)
    assert same(roll(restored, 50, seed=1), after)


def test_every_episode_is_addressed_by_seed_environment_and_number():
    one, two = make_vector(f"{TOYS}:Corridor", 4, seed=1), make_vector(f"{TOYS}:Corridor", 4, seed=1)
    assert same(roll(one, 60), roll(two, 60))
    assert not same(roll(make_vector(f"{TOYS}:Corridor", 4, seed=2), 60), roll(two, 60))
    seeds = {episode_seed(s, i, e) for s in range(5) for i in range(5) for e in range(5)}
    assert len(seeds) == 125


def test_next_obs_is_what_followed_and_obs_what_to_act_upon():
    envs = make_vector(f"{TOYS}:Corridor", 1, seed=0, options={"wind": 0.0})
    while not envs.ended[0]:
        envs.step(np.array([1]))
    assert envs.next_obs[0] == 4
    assert envs.obs[0] < 2
    assert envs.terminated[0]
    assert not envs.truncated[0]
    ended = envs.episodes.drain()
    assert ended["return"].tolist() == [1.0]


def test_a_gymnasium_id_with_a_native_twin_runs_natively():
    assert isinstance(make_vector("CartPole-v1", 2, 0), Batch)
    assert not isinstance(make_vector("FrozenLake-v1", 2, 0), Batch)


@pytest.mark.parametrize(
    ("env", "options", "error", "message"),
    [
        ("CartPol-v1", {}, UsageError, "no environment 'CartPol-v1': did you mean 'CartPole-v"),
        ("warfrin", {}, UsageError, "did you mean 'warfarin'"),
        (f"{TOYS}:Coridor", {}, UsageError, "has no 'Coridor': did you mean 'Corridor'"),
        ("nowhere.toys:Env", {}, UsageError, "there is no module 'nowhere'"),
        ("nowhere.py:Env", {}, UsageError, "there is no file nowhere.py"),
        (f"{TOYS}:NotAnEnv", {}, UsageError, "is a NotAnEnv, not a gymnasium.Env"),
        (f"{TOYS}:Corridor", {"wide": 1}, EnvironmentFault, "cannot be made: TypeError"),
        ("warfarin", {"schedul": "daily"}, UsageError, "no option 'schedul': did you mean 'schedule'"),
    ],
)
def test_what_cannot_be_made_says_why(env, options, error, message):
    with pytest.raises(error, match=message):
        make_vector(env, 1, 0, options)


def test_an_environment_that_raises_is_named_with_seed_and_episode():
    with limiting_faults(max_faults=0, env_timeout=60.0):
        envs = make_vector(f"{TOYS}:Broken", 1, seed=0, options={"length": 50})
    with pytest.raises(
        EnvironmentFault, match=r"number 0, episode 0, step 2, seed \d+\) failed in step: RuntimeError: the"
    ):
        roll(envs, 5)


def test_a_reward_that_is_no_number_is_named():
    with pytest.raises(EnvironmentFault, match="gave the reward nan"):
        roll(make_vector(f"{TOYS}:Poisoned", 1, seed=0), 1)


def test_discrete_actions_are_offset_by_the_start_of_the_space(workspace):
    (workspace / "shifted.py").write_text(
        "import gymnasium\n"
        "from gymnasium import spaces\n"
        "class Shifted(gymnasium.Env):\n"
        "    observation_space, action_space = spaces.Discrete(3, start=5), spaces.Discrete(2, start=-1)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return 5, {}\n"
        "    def step(self, action):\n"
        "        assert self.action_space.contains(action), action\n"
        "        return 7, float(action), True, False, {}\n"
    )
    envs = make_vector("shifted.py:Shifted", 2, 0)
    envs.step(np.array([0, 1]))
    assert envs.reward.tolist() == [-1.0, 0.0]


def test_a_module_of_the_current_folder_needs_no_registration(workspace):
    (workspace / "mylab_toys.py").write_text("class Thing:\n    pass\n")
    assert load_attribute("mylab_toys:Thing").__name__ == "Thing"


def test_a_replay_gives_the_environment_the_actions_that_it_got():
    envs = make_vector(f"{TOYS}:Careless", 2, seed=0)
    for k in range(4):
        envs.step(np.full((2, 1), 1.0 + k, np.float32))
    restored = make_vector(f"{TOYS}:Careless", 2, seed=0)
    restored.load_state_dict(envs.state_dict())
    np.testing.assert_array_equal(restored.obs, envs.obs)


def test_an_environment_that_does_not_follow_its_seed_is_told():
    envs = make_vector(f"{TOYS}:Unseeded", 4, seed=0, options={"length": 1000, "wind": 0.0})
    roll(envs, 7)
    with pytest.warns(UserWarning, match="does not follow from its seed and actions"):
        make_vector(f"{TOYS}:Unseeded", 4, seed=0, options={"length": 1000, "wind": 0.0}).load_state_dict(
            envs.state_dict()
        )
