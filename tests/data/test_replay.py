"""Replay against brute force: the ring, n-step windows, prioritised drawing; and what a kill leaves of it."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cumulant.data.replay import Replay, ReplayConfig
from cumulant.errors import CheckpointError, ConfigError
from cumulant.maths.returns import n_step_return

GAMMA = 0.9
OBS, DISCRETE = spaces.Box(-np.inf, np.inf, (2,), np.float64), spaces.Discrete(3)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Story:
    """Random steps of B environments, every observation told apart by its number: the whole of it, as a list."""

    def __init__(self, num_envs, seed=0):
        self.dice, self.num_envs, self.steps = np.random.default_rng(seed), num_envs, []
        self.obs = self._new_obs()

    def _new_obs(self):
        return self.dice.normal(size=(self.num_envs, 2))

    def step(self):
        """Make a step of every environment and return what ``Replay.add`` takes."""
        terminated = self.dice.random(self.num_envs) < 0.15
        ended = terminated | (self.dice.random(self.num_envs) < 0.15)
        next_obs, action = self._new_obs(), self.dice.integers(0, 3, self.num_envs)
        reward = self.dice.normal(size=self.num_envs).astype(np.float32)
        step = (self.obs, action, reward, next_obs, terminated, ended)
        self.obs = np.where(ended[:, None], self._new_obs(), next_obs)
        self.steps.append(step)
        return step


def fill(replay, story, num_steps):
    for _ in range(num_steps):
        replay.add(*story.step())


def make(tmp_path, capacity=40, num_envs=4, **options):
    config = ReplayConfig(capacity=capacity, **options)
    return Replay(config, num_envs, OBS, DISCRETE, GAMMA, tmp_path / "replay"), Story(num_envs)


def everything(replay, story, n_step):
    """Every transition that may be drawn, by the definition: {slot: (obs, action, reward, next_obs, terminated, discount)}."""
    found, steps = {}, story.steps
    for t in range(max(0, len(steps) - replay.num_rows), len(steps)):
        for b in range(replay.num_envs):
            total, discount, u = 0.0, 1.0, t
            while True:
                _, _, reward, next_obs, terminated, ended = (column[b] for column in steps[u])
                total, discount = total + discount * reward, discount * GAMMA
                if ended or u + 1 == len(steps) or u - t + 1 == n_step:
                    break
                u += 1
            obs, action = steps[t][0][b], steps[t][1][b]
            slot = (t % replay.num_rows) * replay.num_envs + b
            found[slot] = (obs, action, total, next_obs, terminated, discount)
    return found


@pytest.mark.parametrize("num_steps", [1, 2, 7, 10, 11, 27, 40])
@pytest.mark.parametrize("n_step", [1, 2, 3, 5])
@pytest.mark.parametrize("prioritised", [False, True])
def test_drawn_transitions_are_those_that_happened(tmp_path, num_steps, n_step, prioritised):
    replay, story = make(tmp_path, capacity=43, n_step=n_step, prioritised=prioritised)  # 10 rows of 4
    fill(replay, story, num_steps)
    expected = everything(replay, story, n_step)
    assert len(replay) == len(expected) == 4 * min(num_steps, 10)
    drawn = replay.sample(64, 20, rng())
    assert set(drawn.slot) == set(expected)  # all of them, and nothing else
    columns = (drawn.obs, drawn.action, drawn.reward, drawn.next_obs, drawn.terminated, drawn.discount)
    for k, name in enumerate(("obs", "action", "reward", "next_obs", "terminated", "discount")):
        wanted = np.stack([expected[slot][k] for slot in drawn.slot])
        np.testing.assert_allclose(columns[k].numpy(), wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    assert drawn.reward.dtype == drawn.discount.dtype == torch.float32
    assert drawn.action.dtype == torch.int64


@pytest.mark.parametrize("n_step", [1, 3, 20])
def test_windows_are_the_n_step_return_of_the_library(tmp_path, n_step):
    replay, story = make(tmp_path, capacity=4 * 30, n_step=n_step)
    fill(replay, story, 25)
    _, _, reward, _, terminated, ended = (torch.from_numpy(np.stack(column)) for column in zip(*story.steps))
    next_value = torch.randn(25, 4, generator=rng(1))
    expected = n_step_return(reward, next_value, terminated, ended, GAMMA, n_step).reshape(-1)
    drawn = replay.sample(500, 1, rng())
    last, _, _ = replay._windows(drawn.slot)
    bootstrap = torch.where(drawn.terminated, 0.0, next_value.reshape(-1)[last])
    torch.testing.assert_close(drawn.reward + drawn.discount * bootstrap, expected[drawn.slot])


def test_uniform_drawing_is_uniform(tmp_path):
    replay, story = make(tmp_path)
    fill(replay, story, 13)
    counts = np.bincount(replay.sample(1000, 100, rng()).slot, minlength=40)
    assert len(counts) == 40
    np.testing.assert_allclose(counts, 2500, atol=5 * np.sqrt(2500))


def test_prioritised_drawing_follows_the_priorities_and_the_weights_undo_it(tmp_path):
    replay, story = make(tmp_path, prioritised=True, priority_power=0.5)
    fill(replay, story, 10)
    error = np.linspace(0.0, 4.0, 40) ** 2
    error[7] = 0.0
    replay.prioritise(np.arange(40), error)
    chance = (error + 1e-6) ** 0.5
    chance /= chance.sum()
    drawn = replay.sample(1000, 200, rng(), weight_power=0.7)
    share = np.bincount(drawn.slot, minlength=40) / 200_000
    np.testing.assert_allclose(share, chance, atol=5 * np.sqrt(0.06 / 200_000))
    weight = (40 * chance[drawn.slot]) ** -0.7
    np.testing.assert_allclose(drawn.weight.numpy(), weight / weight.max(), rtol=1e-5)
    # At full correction a weighted mean is the plain mean over the ring.
    drawn = replay.sample(1000, 200, rng(1), weight_power=1.0)
    value = np.arange(40.0)
    weight = drawn.weight.double().numpy()
    assert (weight * value[drawn.slot]).sum() / weight.sum() == pytest.approx(value[1:].mean(), rel=0.1)
    assert replay.sample(10, 1, rng(), weight_power=0.0).weight.eq(1).all()


def test_each_minibatch_is_stratified(tmp_path):
    """Equal priorities and as many points as steps: every step once, in each minibatch."""
    replay, story = make(tmp_path, prioritised=True)
    fill(replay, story, 10)
    drawn = replay.sample(40, 3, rng())
    for part in drawn.slot.reshape(3, 40):
        np.testing.assert_array_equal(part, np.arange(40))


def test_new_steps_get_the_largest_priority_and_old_ones_lose_theirs(tmp_path):
    replay, story = make(tmp_path, prioritised=True, priority_power=1.0)
    fill(replay, story, 10)
    replay.prioritise(np.array([0, 8]), np.array([5.0, 3.0]))
    fill(replay, story, 1)  # slots 0 to 3
    np.testing.assert_allclose(replay._tree.priorities[:9], [5, 5, 5, 5, 1, 1, 1, 1, 3], atol=1e-5)


def test_the_same_generator_draws_the_same(tmp_path):
    for prioritised in (False, True):
        replay, story = make(tmp_path, prioritised=prioritised)
        fill(replay, story, 9)
        np.testing.assert_array_equal(replay.sample(8, 2, rng(3)).slot, replay.sample(8, 2, rng(3)).slot)
        assert (replay.sample(8, 2, rng(3)).slot != replay.sample(8, 2, rng(4)).slot).any()


def test_continuous_actions_and_discrete_observations(tmp_path):
    replay = Replay(
        ReplayConfig(capacity=10), 2, spaces.Discrete(5), spaces.Box(-1, 1, (2, 1)), GAMMA, tmp_path / "replay"
    )
    no = np.zeros(2, bool)
    replay.add(np.array([3, 4]), np.ones((2, 2), np.float32), np.zeros(2), np.array([1, 2]), no, no)
    drawn = replay.sample(50, 1, rng())
    assert drawn.action.shape == (50, 2)
    assert drawn.obs.dtype == torch.int64
    assert set(drawn.obs.tolist()) == {3, 4}


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"capacity = 15: 4 environments and n_step = 3 need at least 16"):
        make(tmp_path, capacity=15, n_step=3)
    with pytest.raises(ConfigError, match="nothing to draw from"):
        make(tmp_path)[0].sample(4, 1, rng())
    for name, value in {"capacity": 0, "n_step": 0, "priority_power": 1.5, "weight_power": -0.1}.items():
        with pytest.raises(ConfigError, match=f"{name} = {value}"):
            ReplayConfig(**{name: value})


# -- state ---------------------------------------------------------------------------------------------------------------


def same(replay, other):
    assert replay.added == other.added
    for name, rows in replay._rows.items():
        np.testing.assert_array_equal(rows, other._rows[name], err_msg=name)
    if replay._tree is not None:
        np.testing.assert_array_equal(replay._tree._nodes, other._tree._nodes)
    assert replay._largest == other._largest


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "replay").iterdir())


@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize("between", [1, 3, 7, 10, 26])
def test_state_comes_back_to_the_last_bit(tmp_path, prioritised, between):
    replay, story = make(tmp_path, prioritised=prioritised)
    states = []
    for _ in range(8):
        fill(replay, story, between)
        if prioritised:
            drawn = replay.sample(8, 1, rng(between))
            replay.prioritise(drawn.slot, story.dice.random(8))
        states.append(replay.state_dict())
    before = [path.stat().st_size for path in sorted((tmp_path / "replay").iterdir())]
    assert sum(states[-1]["shards"][k]["rows"] for k in range(len(before))) <= 10 + 3 * between  # old ones are gone
    assert all(record["rows"] <= 10 for record in states[-1]["shards"])  # what was overwritten before is not written
    fill(replay, story, 2)  # what a kill loses
    torn, _ = make(tmp_path, prioritised=prioritised)
    torn.load_state_dict(states[-1])
    whole, again = make(tmp_path / "whole", prioritised=prioritised)
    for _ in range(8):
        fill(whole, again, between)
        if prioritised:
            whole.prioritise(whole.sample(8, 1, rng(between)).slot, again.dice.random(8))
    same(torn, whole)
    fill(torn, again, 5)
    fill(whole, Replayed(again, 5), 5)
    same(torn, whole)


class Replayed:
    """The last steps of a story once more."""

    def __init__(self, story, num_steps):
        self.steps = iter(story.steps[-num_steps:])

    def step(self):
        return next(self.steps)


def test_a_checkpoint_writes_only_what_is_new(tmp_path):
    replay, story = make(tmp_path, capacity=4000)
    fill(replay, story, 500)
    replay.state_dict()
    first = (tmp_path / "replay" / "000000000000.safetensors").stat()
    fill(replay, story, 2)
    replay.state_dict()
    assert files(tmp_path) == ["000000000000.safetensors", "000000000500.safetensors"]
    assert (tmp_path / "replay" / "000000000000.safetensors").stat().st_mtime_ns == first.st_mtime_ns
    assert (tmp_path / "replay" / "000000000500.safetensors").stat().st_size < first.st_size / 50
    replay.state_dict()
    assert len(files(tmp_path)) == 2  # nothing was new


def test_the_checkpoint_before_the_last_can_be_restored_too(tmp_path):
    """Shards live as long as any checkpoint on the disk needs them, and what came after is cleared away."""
    replay, story = make(tmp_path)
    states = []
    for k in range(12):
        fill(replay, story, 3)
        states.append((replay.state_dict(), {name: rows.copy() for name, rows in replay._rows.items()}))
        for state, rows in states[-2:]:  # while a newer one exists already
            older, _ = make(tmp_path)
            older._shards.restore = lambda records, start, keep=older._shards: read_only(keep, records, start)
            older.load_state_dict(state)
            for name in rows:
                np.testing.assert_array_equal(older._rows[name], rows[name], err_msg=f"{k} {name}")
    assert len(files(tmp_path)) <= 7
    older, _ = make(tmp_path)
    older.load_state_dict(states[-2][0])
    assert files(tmp_path)[-1] == "000000000030.safetensors"  # the one of rows 33 to 35 is gone
    again = Story(4, seed=9)
    fill(older, again, 4)
    resumed, _ = make(tmp_path)
    resumed.load_state_dict(older.state_dict())
    same(resumed, older)


def read_only(shards, records, start):
    """As ``Shards.restore``, without clearing anything away."""
    from cumulant.data.shards import Shards

    other = Shards(shards.folder)
    unlink, Path.unlink = Path.unlink, lambda self: None
    try:
        yield from other.restore(records, start)
    finally:
        Path.unlink = unlink
    shards.records = other.records


def test_a_damaged_or_missing_shard_is_named(tmp_path):
    replay, story = make(tmp_path)
    fill(replay, story, 5)
    state = replay.state_dict()
    path = tmp_path / "replay" / "000000000000.safetensors"
    payload = path.read_bytes()
    path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"000000000000.safetensors is damaged"):
        make(tmp_path)[0].load_state_dict(state)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"000000000000.safetensors.* cannot be read"):
        make(tmp_path)[0].load_state_dict(state)


SCRIPT = """
import sys, time, numpy as np
sys.path.insert(0, {here!r})
from pathlib import Path
from test_replay import make, fill, rng
from cumulant.run.run import Run
tmp_path, total = Path({directory!r}), {total}
run = Run(tmp_path, {{"seed": 0}}, resume={resume}, checkpoint_every_seconds=0.0)
replay, story = make(tmp_path / "state", capacity=400, prioritised=True, n_step=3)
class Dice:
    def state_dict(self): return {{"n": len(story.steps)}}
    def load_state_dict(self, state):
        for _ in range(state["n"]): story.step()
run.track(replay=replay, dice=Dice())
draw = run.rng("draw")
for iteration in run.iterations(total):
    fill(replay, story, 7)
    drawn = replay.sample(16, 2, draw, 0.5)
    replay.prioritise(drawn.slot, np.abs(drawn.reward.numpy()))
    run.log(steps=iteration, **{{"check/sum": float((drawn.reward * drawn.weight).sum())}})
run.close()
np.savez(tmp_path / "end.npz", nodes=replay._tree._nodes, **replay._rows)
"""


def script(directory, resume, total=150):
    text = SCRIPT.format(here=str(Path(__file__).parent), directory=str(directory), resume=resume, total=total)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)


def test_killed_at_random_moments_and_resumed_is_undisturbed(tmp_path):
    import random
    import time

    process = script(tmp_path / "whole", False)
    assert process.wait() == 0, process.stderr.read()
    process.stderr.close()
    dice, kills, resume = random.Random(1), 0, False
    for _ in range(40):
        process = script(tmp_path / "torn", resume)
        rows = tmp_path / "torn" / "metrics.jsonl"
        size = rows.stat().st_size if rows.exists() else 0
        while process.poll() is None and not (rows.exists() and rows.stat().st_size > size):
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.1))
        if kills < 4 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, err = process.communicate()
        resume = True
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, err
    assert kills >= 2
    assert (tmp_path / "torn" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    with np.load(tmp_path / "torn" / "end.npz") as torn, np.load(tmp_path / "whole" / "end.npz") as whole:
        assert set(torn.files) == set(whole.files)
        for name in whole.files:
            np.testing.assert_array_equal(torn[name], whole[name], err_msg=name)


@pytest.mark.parametrize("n_step", [1, 3])
def test_further_numbers_are_summed_like_the_reward_and_survive(tmp_path, n_step):
    config = ReplayConfig(capacity=40, n_step=n_step)
    replays = [Replay(config, 4, OBS, DISCRETE, GAMMA, tmp_path / "replay", ("cost",)) for _ in range(2)]
    story = Story(4)
    for _ in range(25):
        step = story.step()
        replays[0].add(*step, cost=1.0 - 2.0 * step[2])
    replays[1].load_state_dict(replays[0].state_dict())
    for replay in replays:
        drawn = replay.sample(50, 2, rng())
        length = torch.log(drawn.discount) / np.log(GAMMA)  # of each window
        ones = (1.0 - GAMMA**length) / (1.0 - GAMMA)
        torch.testing.assert_close(drawn.sums["cost"], (ones - 2.0 * drawn.reward).float(), atol=1e-4, rtol=1e-4)
        parts = list(drawn.split(50))
        assert len(parts) == 2
        for name in ("obs", "action", "reward", "next_obs", "terminated", "discount"):
            torch.testing.assert_close(torch.cat([getattr(part, name) for part in parts]), getattr(drawn, name))
        torch.testing.assert_close(torch.cat([part.sums["cost"] for part in parts]), drawn.sums["cost"])
        assert (np.concatenate([part.slot for part in parts]) == drawn.slot).all()
