"""What comes out of Gymnasium environments and what goes in: dictionaries, masks, costs."""

import numpy as np
import pytest

from cumulant import api, catalogue
from cumulant.engine.evaluate import episode_metrics
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.vector import make_vector
from cumulant.envs.actions import from_native
from cumulant.envs.batched import Batch, Kernel
from cumulant.envs.spaces import flatten, mask_slice, unflatten
from cumulant.errors import ConfigError, EnvironmentFault

TOYS = f"{__file__.rpartition('/')[0]}/toys.py"


def rover_actions(envs, steps):
    envs.action_space.seed(1)
    return [
        np.stack([from_native(envs.action_space, envs.action_space.sample()) for _ in range(envs.num_envs)])
        for _ in range(steps)
    ]


def test_a_dictionary_is_flat_and_its_action_reaches_the_environment():
    envs = make_vector(f"{TOYS}:Rover", 2, seed=3)
    space = envs.observation_space
    assert envs.obs.shape == (2, 4 + 5 + 2 + 4)
    assert envs.obs.dtype == np.float32
    for action in rover_actions(envs, 3):
        envs.step(action)
        for row, native, told in zip(envs.next_obs, action, envs.envs):
            np.testing.assert_array_equal(row, flatten(space, told._seen()))
            assert space.contains(unflatten(space, row))
            np.testing.assert_array_equal(from_native(envs.action_space, told.told[-1]), native)


def test_a_restored_dictionary_environment_goes_on_exactly_where_it_was():
    envs = make_vector(f"{TOYS}:Rover", 3, seed=5)
    actions = rover_actions(envs, 40)
    for action in actions[:17]:
        envs.step(action)
    restored = make_vector(f"{TOYS}:Rover", 3, seed=9)
    restored.load_state_dict(envs.state_dict())
    for action in actions[17:]:
        for each in (envs, restored):
            each.step(action)
        for name in ("obs", "next_obs", "reward", "cost", "ended"):
            np.testing.assert_array_equal(getattr(envs, name), getattr(restored, name))
    assert episode_metrics(envs) == episode_metrics(restored)


def test_bits_arrive_as_bits():
    envs = make_vector(f"{TOYS}:Switches", 2, seed=0)
    envs.step(np.array([[1, 0, 1, 1], [0, 0, 0, 1]]))
    assert envs.reward.tolist() == [3.0, 1.0]
    assert envs.next_obs.tolist() == [[1, 0, 1, 1], [0, 0, 0, 1]]


def test_blackjack_is_a_tuple_of_three():
    envs = make_vector("Blackjack-v1", 2, seed=0)
    assert envs.obs.shape == (2, 32 + 11 + 2)
    assert (envs.obs.sum(1) == 3.0).all()


def test_costs_are_read_and_summed_over_the_episode():
    envs = make_vector(f"{TOYS}:Rover", 2, seed=0, options={"length": 3})
    still, fast = [1, 0, 0, 0, 0], [2, 0, 0, 0, 0]
    envs.step(np.array([still, still], np.float32))
    assert not envs.has_costs
    envs.step(np.array([still, fast], np.float32))
    assert envs.cost.tolist() == [0.0, 0.5]
    envs.step(np.array([fast, fast], np.float32))
    assert envs.cost.tolist() == [0.5, 0.5]
    envs.step(np.array([still, still], np.float32))
    assert envs.cost.tolist() == [0.0, 0.0]
    assert episode_metrics(envs)["episode/cost"] == pytest.approx((0.5 + 1.0) / 2)


def test_environments_without_costs_log_none():
    envs = make_vector(f"{TOYS}:Switches", 1, seed=0)
    envs.step(np.ones((1, 4), np.int64))
    assert "episode/cost" not in episode_metrics(envs)
    assert envs.cost.tolist() == [0.0]


def test_the_cost_of_a_native_environment_is_its_column():
    space = make_vector("cartpole", 1, 0)

    def reset(mask, key, params, state, obs):
        obs[mask] = 0.0

    def step(key, clock, action, params, state, obs, reward, terminated, outcomes):
        outcomes[:, 1] = clock + np.arange(len(clock))

    kernel = Kernel(
        space.observation_space, space.action_space, 1, reset, step, max_steps=3, outcome_names=("x", "cost")
    )
    envs = Batch(kernel, 2)
    costs = []
    for _ in range(3):
        envs.step(np.zeros(2, np.int64))
        costs.append(envs.cost.tolist())
    assert costs == [[0, 1], [1, 2], [2, 3]]
    assert envs.has_costs
    assert episode_metrics(envs)["episode/cost"] == pytest.approx(4.5)


# -- masks


def allowed(envs, rng):
    mask = envs.obs[:, mask_slice(envs.observation_space)]
    return np.array([rng.choice(np.flatnonzero(row)) for row in mask])


@pytest.mark.parametrize(("env", "sizes"), [(f"{TOYS}:Gated", (2, 5)), ("Taxi-v4", (6, 500))])
def test_a_mask_of_the_info_becomes_part_of_the_observation(env, sizes):
    envs = make_vector(env, 3, seed=0, masks="always")
    assert isinstance(envs, GymVector)
    assert envs.obs.shape == (3, sum(sizes))
    assert mask_slice(envs.observation_space) == slice(0, sizes[0])
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(200):
        envs.step(allowed(envs, rng))  # Gated refuses a forbidden one
        assert (envs.next_obs[:, mask_slice(envs.observation_space)].sum(1) > 0).all()
        ends += int(envs.ended.sum())
    assert ends > 0
    assert make_vector(env, 1, seed=0).obs.shape == (1,)  # unless asked


def test_masks_survive_a_restore():
    envs, rng = make_vector(f"{TOYS}:Gated", 2, seed=0, masks="always"), np.random.default_rng(0)
    for _ in range(23):
        envs.step(allowed(envs, rng))
    restored = make_vector(f"{TOYS}:Gated", 2, seed=1, masks="always")
    restored.load_state_dict(envs.state_dict())
    np.testing.assert_array_equal(restored.obs, envs.obs)


@pytest.mark.parametrize("silent", [False, True])
def test_where_an_episode_has_terminated_everything_is_allowed(silent):
    envs = make_vector(f"{TOYS}:Strict", 1, 0, {"length": 2, "wind": 0.0, "silent": silent}, masks="always")
    envs.step(np.array([1]))
    assert envs.terminated.all()
    assert envs.next_obs[:, :2].tolist() == [[1.0, 1.0]]  # or a target would hold minus infinity


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("actions", "lame", "what"), [("one", (0, 3), "action"), ("two", (3, 5), "option of choice 1")]
)
def test_a_choice_without_any_option_is_a_fault_and_not_nan(own, actions, lame, what):
    options = {"own": own, "actions": actions, "lame_at": 2, "lame": lame}
    envs = make_vector(f"{TOYS}:Ruled", 1, 0, options, masks="offered")
    step = np.array([1] if actions == "one" else [[1, 0]])
    envs.step(step)
    with pytest.warns(UserWarning, match=rf"step 1, .* gave an action mask that forbids every {what}"):
        envs.step(step + np.array([1] if actions == "one" else [[1, 0]]))
    assert envs.faulted.all()


@pytest.mark.parametrize("own", [False, True])
def test_where_an_episode_was_truncated_there_is_something_to_bootstrap_from(own):
    envs = make_vector(f"{TOYS}:Ruled", 1, 0, {"own": own, "lame_at": 1, "limit": 1}, masks="offered")
    envs.step(np.array([1]))
    assert envs.truncated.all()
    assert not envs.faults
    assert envs.next_obs[0, mask_slice(envs.observation_space)].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_masks_that_end_in_nothing_are_learned_with(algo, tmp_path):
    options = {"lame_at": 5}  # where the episode is truncated
    fields = {
        "total_steps": 256,
        "num_envs": 2,
        "horizon": 32,
        "warmup_steps": 20,
        "minibatches": 2,
        "eval_episodes": 2,
    }
    known = catalogue.load_algorithm(algo).Config.__dataclass_fields__
    fields = {name: value for name, value in fields.items() if name in known}
    api.train(algo, f"{TOYS}:Ruled", env_options=options, out=tmp_path / "run", **fields)  # a loss of inf is an error


def test_choices_of_mixed_actions_are_masked_by_infos_too(tmp_path):
    options = {"actions": "mixed", "own": False}
    fields = {"total_steps": 128, "num_envs": 2, "horizon": 32, "minibatches": 2, "eval_episodes": 2}
    run = api.train("ppo", f"{TOYS}:Ruled", env_options=options, out=tmp_path / "run", max_faults=0, **fields)
    assert run.evaluation["return_mean"] == 5.0  # it refuses what is forbidden


def test_masks_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match="has no action masks: its info has no 'action_mask'"):
        make_vector(f"{TOYS}:Corridor", 1, seed=0, masks="always")
    with pytest.raises(ConfigError, match="'warfarin' has no action masks"):
        make_vector("warfarin", 1, seed=0, masks="always")
    with pytest.raises(ConfigError, match="Reach': actions of Box cannot be masked"):
        make_vector(f"{TOYS}:Reach", 1, seed=0, masks="always")
    for options, said in (({}, "that forbids every action"), ({"silent": True}, r"gave no info\['action_mask'\]")):
        envs = make_vector(f"{TOYS}:Strict", 1, 0, {"wind": 0.0, **options}, masks="always")
        with pytest.raises(EnvironmentFault, match=f"step 0, .*{said}"):
            envs.step(np.array([1]))


def test_a_part_that_is_not_supported_is_named_with_the_environment():
    with pytest.raises(
        ConfigError, match=r"toys.py:Chatty': part said of the observations is Text, which is not supported"
    ):
        make_vector(f"{TOYS}:Chatty", 1, 0)
