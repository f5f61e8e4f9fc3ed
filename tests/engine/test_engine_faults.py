"""Environments that raise, hang, or give what is no number: made anew, counted, reported, up to a limit."""

import json
import signal
import threading
import time
import warnings
import weakref

import numpy as np
import pytest

from cumulant import api
from cumulant.engine import faults
from cumulant.engine.evaluate import episode_metrics, play
from cumulant.engine.faults import FaultLimits, Hang, Watchdog, fault_limits, limiting_faults
from cumulant.engine.gym_vector import episode_seed
from cumulant.engine.vector import make_vector
from cumulant.errors import ConfigError, EnvironmentFault
from cumulant.loading import load_attribute
from cumulant.report.load import load

TOYS = f"{__file__.rpartition('/')[0]}/toys.py"
WAYS = {
    "raise": "failed in step: OSError: the line is dead",
    "hang": r"did not come back from step within 0.1 s \(--env-timeout\)",
    "obs": r"gave an observation that is not finite: \[",
    "shape": r"gave an observation of shape \(1,\): its space has \(2,\)",
    "reward": "gave the reward inf: rewards must be finite numbers",
    "cost": "gave the cost nan: costs must be finite numbers",
}


def flaky(num_envs=3, seed=0, kind="Flaky", max_faults=1000, env_timeout=0.1, **options):
    with limiting_faults(max_faults, env_timeout):
        return make_vector(f"{TOYS}:{kind}", num_envs, seed, options)


def right(envs):
    envs.step(np.ones(envs.num_envs, np.int64))


def steps(envs, count):
    for _ in range(count):
        right(envs)


def until_a_fault(envs):
    while not envs.faults:
        right(envs)


@pytest.mark.parametrize("how", WAYS)
def test_a_fault_truncates_the_episode_where_it_stood(how):
    envs = flaky(how=how, rate=0.1 if how != "hang" else 0.02)
    counted = 0
    for _ in range(60):
        before, faults = envs.obs.copy(), envs.faults
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            right(envs)
        counted += int((envs.ended & ~envs.faulted).sum())
        assert envs.faults - faults == envs.faulted.sum() == len(said)
        for warning in said:
            assert "(number " in str(warning.message)
            assert "it is made anew, and the episode is given up (fault" in str(warning.message)
        np.testing.assert_array_equal(envs.next_obs[envs.faulted], before[envs.faulted])
        assert (envs.truncated & ~envs.terminated)[envs.faulted].all()
        assert (envs.ended | ~envs.faulted).all()
        assert (envs.reward[envs.faulted] == 0.0).all()
        assert (envs.obs[envs.ended, 1] == 0.0).all()  # the next episode has begun
        assert np.isfinite(envs.next_obs).all()
    assert envs.faults > 2
    metrics = episode_metrics(envs)
    assert metrics["episode/count"] == counted
    assert metrics["env/faults"] == envs.faults
    assert metrics["episode/length"] == 12.0  # none that was given up


@pytest.mark.parametrize("how", WAYS)
def test_a_fault_says_which_environment_episode_step_and_seed(how):
    envs = flaky(num_envs=1, how=how)
    where = rf"\(number 0, episode \d+, step \d+, seed \d+\) {WAYS[how]}.*\(fault 1, 1000 are borne\)"
    with pytest.warns(UserWarning, match=where):
        until_a_fault(envs)


def test_a_loop_that_never_waits_is_interrupted_too():
    envs, began = flaky(num_envs=1, kind="Busy", how="hang"), time.monotonic()
    with pytest.warns(UserWarning, match="did not come back from step"):
        until_a_fault(envs)
    assert time.monotonic() - began < 20.0


@pytest.mark.filterwarnings("ignore:environment")
@pytest.mark.parametrize("borne", [0, 2])
def test_too_many_faults_are_an_error(borne):
    said = f"the line is dead; it is fault {borne + 1} of this run, and max_faults = {borne}: mend"
    envs = flaky(max_faults=borne)
    with pytest.raises(EnvironmentFault, match=said):
        steps(envs, 100)
    assert envs.faults == borne + 1


def test_what_never_worked_is_an_error_at_once():
    with pytest.raises(
        EnvironmentFault, match=r"episode 0, step 0, seed \d+\) failed in reset: RuntimeError: no reset"
    ):
        flaky(at_reset=1.0)
    with pytest.raises(EnvironmentFault, match=r"episode 0, step 0, seed \d+\) failed in step: OSError"):
        right(flaky(rate=1.0))


@pytest.mark.parametrize("masks", ["never", "offered"])
def test_a_first_reset_that_hangs_is_an_error(masks):
    with (
        limiting_faults(1000, 0.1),
        pytest.raises(EnvironmentFault, match=r"did not come back from reset within 0.1 s"),
    ):
        make_vector(f"{TOYS}:Flaky", 1, 0, {"at_reset": 1.0, "how": "hang"}, masks)


def test_a_new_environment_that_cannot_be_reset_is_an_error_at_once(unlucky):
    unlucky.fails_at, unlucky.for_good = {3}, True
    envs = flaky(num_envs=1, kind="Unlucky")
    steps(envs, 2)
    with (
        pytest.warns(UserWarning, match="out of luck"),
        pytest.raises(EnvironmentFault, match=r"reset: .*gone for good$"),
    ):
        right(envs)


@pytest.fixture
def unlucky():
    toy = load_attribute(f"{TOYS}:Unlucky")
    toy.calls, toy.fails_at, toy.for_good = 0, set(), False
    return toy


def test_a_reset_that_fails_now_and_then_is_borne():
    def fails(seed):
        return "".join("x" if episode_seed(seed, 0, episode) % 1000 < 100 else "." for episode in range(50))

    seed = next(s for s in range(100) if fails(s)[0] == "." and "x" in fails(s)[:30] and "xx" not in fails(s))
    envs = flaky(seed=seed, num_envs=1, rate=0.0, at_reset=0.1)
    with pytest.warns(UserWarning, match=r"step 0, seed \d+\) failed in reset: RuntimeError: no reset today"):
        steps(envs, 400)
    assert envs.faults > 0
    assert not envs.faulted.any()  # no step was lost


def test_an_environment_that_cannot_be_closed_is_told():
    with pytest.warns(UserWarning, match=r"cannot be closed: OSError\('already gone'\)"):
        flaky(num_envs=1).close()


def test_the_broken_environment_is_closed_and_what_that_raises_is_no_news():
    toy = load_attribute(f"{TOYS}:Flaky")
    envs, before = flaky(), toy.closed
    with pytest.warns(UserWarning, match="made anew"):
        steps(envs, 30)
    assert toy.closed - before == envs.faults


def test_an_error_of_the_users_own_is_not_borne():
    with pytest.raises(ConfigError, match="wind = 3"):
        right(flaky(kind="Mistaken"))


@pytest.mark.filterwarnings("ignore:environment")
@pytest.mark.parametrize("how", ["raise", "hang"])
def test_a_restored_batch_goes_on_exactly_where_it_was_faults_and_all(how):
    envs = flaky(how=how, rate=0.04)
    for _ in range(41):
        right(envs)
    restored = flaky(how=how, rate=0.04, seed=7)
    state = envs.state_dict()
    assert state["faults"] > 0
    restored.load_state_dict(state)
    for _ in range(40):
        for each in (envs, restored):
            right(each)
        for name in ("obs", "next_obs", "reward", "truncated", "faulted"):
            np.testing.assert_array_equal(getattr(envs, name), getattr(restored, name))
    assert restored.faults == envs.faults > state["faults"]


def test_a_replay_that_meets_a_fault_is_replayed_once_more(unlucky):
    unlucky.fails_at = {15}
    envs = flaky(num_envs=1, kind="Unlucky")
    steps(envs, 10)
    restored = flaky(num_envs=1, kind="Unlucky")
    with pytest.warns(
        UserWarning, match=r"step 4, .*out of luck; it is made anew, and its open episode is replayed once"
    ):
        restored.load_state_dict(envs.state_dict())
    assert restored.obs.tolist() == envs.obs.tolist()
    assert restored.faults == 1
    steps(restored, 3)
    steps(envs, 3)
    assert restored.obs.tolist() == envs.obs.tolist()


@pytest.mark.filterwarnings("ignore:environment")
def test_an_evaluation_counts_whole_episodes_only():
    played = play(lambda obs: np.ones(len(obs), np.int64), flaky(rate=0.05), 9)
    assert played["length"].tolist() == [12.0] * 9


def test_limits_hold_inside_and_are_checked():
    assert fault_limits() == FaultLimits(10, 60.0)
    with limiting_faults(3, 0.0):
        assert fault_limits() == FaultLimits(3, 0.0)
    assert fault_limits() == FaultLimits()
    with pytest.raises(ConfigError, match="max_faults = -1: it must be at least 0"):
        FaultLimits(max_faults=-1)
    with pytest.raises(ConfigError, match="env_timeout = nan"):
        FaultLimits(env_timeout=float("nan"))


def test_slow_calls_in_a_row_are_no_hang():
    watchdog = Watchdog(0.2)
    with watchdog:
        for _ in range(6):
            watchdog.calls += 1
            time.sleep(0.1)
            watchdog.calls += 1
        time.sleep(0.4)  # between two calls: not the environment's time
    time.sleep(0.3)


def test_a_signal_that_comes_too_late_interrupts_nothing(monkeypatch):
    watchdog = Watchdog(60.0)
    with watchdog:
        watchdog.calls += 1
        monkeypatch.setattr(faults, "_suspect", (weakref.ref(watchdog), watchdog.calls))
        with pytest.raises(Hang):
            signal.raise_signal(signal.SIGVTALRM)
        watchdog.calls += 2  # the call came back, and the next one has begun
        signal.raise_signal(signal.SIGVTALRM)


def test_a_signal_that_somebody_else_uses_is_left_alone():
    before = signal.signal(signal.SIGVTALRM, lambda *_: None)
    try:
        before_it = set(threading.enumerate())
        watchdog = Watchdog(60.0)
        assert not set(threading.enumerate()) - before_it
        with watchdog:
            pass
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_the_guard_ends_with_its_watchdog():
    before = set(threading.enumerate())
    watchdog = Watchdog(60.0)
    (guard,) = set(threading.enumerate()) - before
    assert guard.daemon
    del watchdog
    guard.join(5.0)
    assert not guard.is_alive()


def test_elsewhere_than_in_the_main_thread_nothing_is_interrupted():
    said = []

    def call():
        watchdog = Watchdog(0.05)
        with watchdog:
            watchdog.calls += 1
            time.sleep(0.3)
            watchdog.calls += 1
        said.append("came back")

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert said == ["came back"]


@pytest.mark.filterwarnings("ignore:environment", "ignore:.*imports")
def test_a_training_counts_faults_and_its_report_tells(workspace):
    fields = {"total_steps": 512, "num_envs": 2, "horizon": 64, "eval_episodes": 2, "eval_every_steps": 512}
    result = api.train(
        "ppo", f"{TOYS}:Flaky", env_options={"rate": 0.01}, max_faults=500, env_timeout=5.0, out="run", **fields
    )
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    faults = rows[-1]["env/faults"]
    assert faults > 0
    spec = json.loads((result.run / "config.json").read_text())
    assert (spec["max_faults"], spec["env_timeout"]) == (500, 5.0)
    note = f"an environment failed {faults:.0f} times in training"
    assert any(note in problem for problem in load(result.run).problems)
    assert note in (result.run / "report.html").read_text()
    with pytest.raises(EnvironmentFault, match="max_faults = 1"):
        api.train("ppo", f"{TOYS}:Flaky", env_options={"rate": 0.05}, max_faults=1, out="short", **fields)
