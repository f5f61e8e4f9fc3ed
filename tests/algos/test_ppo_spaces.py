"""PPO on every kind of observation and action, with memory and with masks: what it must learn is known."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant import api
from cumulant.engine.collect import collect
from cumulant.engine.policy import Policy
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError, RunError
from cumulant.loading import load_attribute
from cumulant.nn.actor_critic import ActorCritic
from cumulant.nn.memory import Remembered

HERE = Path(__file__)
TOYS = HERE.parents[1] / "engine" / "toys.py"
SETTING = {
    "num_envs": 16, "horizon": 16, "minibatches": 4, "learning_rate": 1e-2, "hidden": (32,), "gamma": 0.9,
    "eval_every_steps": 10**9, "eval_episodes": 100, "entropy_coef": 0.01,
}  # fmt: skip


def learned(train_one, env, **fields):
    """Train; return the policy and its mean return."""
    run = train_one("ppo", env, **{**SETTING, **fields})
    return Policy.load(run / "policy", "last"), json.loads((run / "evaluation.json").read_text())["return_mean"]


class Several(gymnasium.Env):
    """One step: choose the gear that is shown, lamps that are its bits, and steer to its quarter; each brings up to 1."""

    observation_space = spaces.Dict({"zone": spaces.Discrete(4), "wind": spaces.Box(-1, 1, (2,), np.float32)})
    action_space = spaces.Dict(
        {"gear": spaces.Discrete(4, start=1), "lamps": spaces.MultiDiscrete([2, 2]), "steer": spaces.Box(0, 8, (1,))}
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.zone = int(self.np_random.integers(4))
        return {"zone": self.zone, "wind": self.np_random.uniform(-1, 1, 2).astype(np.float32)}, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        lamps = (action["lamps"] == [self.zone // 2, self.zone % 2]).mean()
        steered = 1.0 - min(1.0, abs(action["steer"][0] - 2.0 * self.zone) / 4.0)
        return (
            self.observation_space.sample(),
            float((action["gear"] - 1 == self.zone) + lamps + steered),
            True,
            False,
            {},
        )


class Picture(gymnasium.Env):
    """One step: say in which quarter of the picture the bright square is."""

    observation_space, action_space = spaces.Box(0, 255, (12, 12, 2), np.uint8), spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(4))
        row, column = self.np_random.integers(0, 4, 2) + 6 * np.array([self.place // 2, self.place % 2])
        picture = self.np_random.integers(0, 60, (12, 12, 2), dtype=np.uint8)
        picture[row : row + 2, column : column + 2] = 255
        return picture, {}

    def step(self, action):
        return np.zeros((12, 12, 2), np.uint8), float(action == self.place), True, False, {}


class Recall(gymnasium.Env):
    """Four steps: a sign is shown in the first one only, and counts in the last one. Cut by a time limit when ``cut``.

    What a policy without memory can get is 0.5; one with memory gets 1. ``legal`` allows only the action 2 before the last step.
    """

    def __init__(self, cut=False, legal=False):
        self.cut, self.legal = cut, legal
        self.observation_space = spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        if legal:
            self.observation_space = spaces.Dict(
                {"observation": self.observation_space, "action_mask": spaces.MultiBinary(3)}
            )

    def seen(self):
        place = np.array([self.sign if self.time == 0 else 0.0, self.time == 3], np.float32)
        last = self.time >= 3
        return {"observation": place, "action_mask": np.array([last, last, not last], np.int8)} if self.legal else place

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.sign = 0, float(self.np_random.choice([-1.0, 1.0]))
        return self.seen(), {}

    def step(self, action):
        assert not self.legal or self.seen()["action_mask"][action]
        reward = float(self.time == 3 and action == (self.sign > 0))
        self.time += 1
        over = self.time == 4
        return self.seen(), reward, over and not self.cut, over and self.cut, {}


def test_several_parts_in_and_out(train_one):
    policy, mean = learned(train_one, f"{HERE}:Several", total_steps=30_000)
    assert mean >= 2.7  # of 3; at random 0.25 + 0.5 + about 0.4
    acted = policy.act({"zone": 3, "wind": np.zeros(2, np.float32)})
    assert (acted["gear"], acted["lamps"].tolist()) == (4, [1, 1])
    assert abs(acted["steer"][0] - 6.0) < 1.0


@pytest.mark.parametrize(("net", "hidden"), [("auto", ()), ("mlp", (64,))])
def test_pictures(train_one, net, hidden):
    fields = {"net": net, "hidden": hidden, "learning_rate": 2e-3, "activation": "relu"}
    _, mean = learned(train_one, f"{HERE}:Picture", total_steps=20_000, **fields)
    assert mean >= 0.95  # at random 0.25


@pytest.mark.parametrize(
    ("memory", "options"),
    [("gru", {}), ("lstm", {}), ("gru", {"cut": True}), ("lstm", {"legal": True})],
    ids=["gru", "lstm", "truncated", "masked"],
)
def test_what_was_shown_three_steps_ago_is_remembered(train_one, memory, options):
    fields = {
        "memory": memory,
        "memory_size": 16,
        "total_steps": 20_000,
        "horizon": 10,
        "entropy_coef": 0.03,
    }  # episodes cross rollouts
    policy, mean = learned(train_one, f"{HERE}:Recall", env_options=options, **fields)
    assert mean >= 0.95
    env = Recall(**options)
    right = 0
    for seed in range(20):  # as a user plays it, one observation at a time
        policy.forget()
        (obs, _), over, reward = env.reset(seed=seed), False, 0.0
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            over = terminated or truncated
        right += reward
    assert right >= 19


def test_without_a_memory_it_cannot_be_known(train_one):
    _, mean = learned(train_one, f"{HERE}:Recall", total_steps=12_000, horizon=10)
    assert mean <= 0.65


def test_a_rollout_with_a_memory_is_what_the_update_sees():
    envs = make_vector(f"{HERE}:Recall", 6, 0, {"cut": True})
    net = ActorCritic(
        envs.observation_space, envs.action_space, (8,), generator=torch.Generator().manual_seed(0), memory="lstm"
    )
    remembered, rng = Remembered(net.memory, 6), torch.Generator().manual_seed(1)
    collect(envs, net, 6, rng, remembered)
    state = remembered.state.clone()
    assert state.abs().sum() > 0  # it begins in the middle of episodes
    rollout = collect(envs, net, 10, rng, remembered)
    torch.testing.assert_close(rollout.state, state)
    seen = net.features(rollout.obs.transpose(0, 1), rollout.ended.T, rollout.state)
    torch.testing.assert_close(net.logp_entropy(seen, rollout.action.T)[0].T, rollout.logp)
    torch.testing.assert_close(net.value(seen).T, rollout.value)
    # the value after a truncation is that of the final observation with what the episode left in memory
    ends = rollout.ended.nonzero().tolist()
    assert ends
    going_on = rollout.next_value[:-1][~rollout.ended[:-1]]
    torch.testing.assert_close(going_on, rollout.value[1:][~rollout.ended[:-1]])
    t, i = next((t, i) for t, i in ends if t >= 3)
    now = torch.zeros(1, net.memory.state_size)
    for step in range(t - 3, t + 1):
        _, now = net.step(rollout.obs[step, i : i + 1], now)
    final = torch.tensor([[0.0, 0.0]])  # what Recall shows after its last step
    torch.testing.assert_close(rollout.next_value[t, i], net.value(net.step(final, now)[0])[0])


def test_memory_resumes_in_the_middle_of_episodes(train_one):
    fields = {**SETTING, "memory": "lstm", "horizon": 7, "total_steps": 7 * 16 * 4, "env_options": {"cut": True}}

    def stop(seed, row):
        if row["iteration"] == 2:
            raise KeyboardInterrupt

    whole = train_one("ppo", f"{HERE}:Recall", 1, **fields, name="whole")
    torn = whole.with_name("torn")
    with pytest.raises(KeyboardInterrupt):
        train_one("ppo", f"{HERE}:Recall", 1, **fields, checkpoint_seconds=0.0, name="torn", progress=stop)
    (torn / "state" / "00000003.pt").unlink()
    api.train_one(api.read_spec(torn), torn, resume=True)
    for name in ("metrics.jsonl", "policy/last.safetensors"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()


def test_sequences_stay_whole_in_a_minibatch():
    with pytest.raises(ConfigError, match="minibatches = 4: it must be at most num_envs with a memory"):
        api.make_spec("ppo", "CartPole-v1", num_envs=2, minibatches=4, memory="gru")


def test_the_epochs_of_a_rollout_stop_when_the_policy_has_moved_far(train_one):
    fields = {**SETTING, "total_steps": 16 * 16 * 5, "epochs": 30, "learning_rate": 3e-2, "clip": 0.99}
    moved = [
        [row["policy/kl"] for row in rows(train_one("ppo", "CartPole-v1", **fields, target_kl=limit, name=name))]
        for name, limit in (("free", None), ("held", 0.01))
    ]
    assert np.mean(moved[1]) < 0.5 * np.mean(moved[0])


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


OWN = """
import torch
class Squares(torch.nn.Module):
    def __init__(self, space):
        super().__init__()
        self.layer = torch.nn.Linear(2 * space.shape[0], 16)
    def forward(self, obs):
        return torch.tanh(self.layer(torch.cat([obs, obs**2], 1)))
"""


def test_a_network_of_ones_own_trains_saves_and_is_not_imported_for_strangers(train_one, workspace, monkeypatch):
    (workspace / "mynet.py").write_text(OWN)
    run = train_one("ppo", "CartPole-v1", net="mynet.py:Squares", num_envs=4, total_steps=1024, eval_episodes=4)
    with pytest.warns(UserWarning, match=r"imports mynet\.py:Squares"):
        policy = api.load(run)
    assert type(policy.net.trunk.module).__name__ == "Squares"
    with pytest.raises(RunError, match=r"network is mynet\.py:Squares, code that loading would run"):
        Policy.load(run / "policy", "best")
    card = (run / "policy" / "card.json").read_text()
    (run / "policy" / "card.json").write_text(card.replace(policy.card["host"], "elsewhere"))
    with pytest.raises(RunError, match=r"would import mynet\.py:Squares, and another machine wrote it"):
        api.load(run)


@pytest.mark.parametrize("algo", ["ppo", "a2c", "reinforce", "dqn"])
def test_masks_of_an_info_are_read_in_training_and_in_evaluation(train_one, algo):
    """The corridor refuses what its mask forbids, with an error."""
    small = {"num_envs": 4, "horizon": 16, "total_steps": 640, "eval_episodes": 4}
    run = train_one(algo, f"{TOYS}:Gated", env_options={"wind": 0.0}, **small)
    policy = Policy.load(run / "policy", "best")
    env = load_attribute(f"{TOYS}:Gated")(wind=0.0)
    obs, info = env.reset(seed=0)
    over = False
    while not over:
        obs, _, terminated, truncated, info = env.step(
            policy.act({"observation": obs, "action_mask": info["action_mask"]})
        )
        over = terminated or truncated
