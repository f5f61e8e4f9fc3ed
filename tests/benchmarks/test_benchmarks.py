"""Every benchmark of speed runs at toy size, without the peers' environment."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
CASES = {
    "align_results.py": ["--out", mkdtemp()],
    "align_time.py": ["--presets"],  # each takes a minute and more
    "alphazero_results.py": ["--finished", "--runs", mkdtemp()],
    "control_results.py": ["--only", "reinforce/cartpole", "--seeds", "2", "--steps", "600", "--out", mkdtemp()],
    "ppo_cartpole.py": ["--repeats", "1", "--steps", "2048"],
    "engines.py": ["--seeds", "2", "--steps", "8192", "--only", "PPO, CartPole-v1"],
    "ppo_warfarin.py": ["--repeats", "1", "--steps", "2048"],
    "time_to_475.py": ["--repeats", "1", "--steps", "2048"],
    "ppo_gymnasium.py": ["--repeats", "1", "--steps", "2048"],
    "ppo_pong.py": ["--repeats", "1", "--steps", "2048"],
    "ppo_cartpole.py --solve": ["--solve", "--seeds", "1", "--steps", "1024"],
    "game_strength.py": ["--networks", "3", "--games", "2", "--simulations", "4", "--core", "-1"],
    "games.py": ["--repeats", "1", "--seconds", "0.01"],
    "minatar_steps.py": ["--repeats", "1", "--frames", "200"],
    "off_policy_speed.py": ["--repeats", "1", "--steps", "750"],
    "real_environments.py": ["--repeats", "1", "--seconds", "0.01"],
    "rlhf.py": ["--repeats", "1", "--only", "passes", "--rows", "2"],
    "rlhf.py texts": ["--repeats", "1", "--only", "sft", "reward_model", "dpo", "--steps", "1", "--layers", "1"],
    "rlhf.py answers": ["--repeats", "1", "--only", "grpo", "rlhf", "--steps", "1", "--layers", "1"],
    "search.py": ["--rounds", "1", "--seconds", "0.01"],
    "speed.py": ["--repeats", "1", "--only", "ppo", "--steps", "2048"],
    "warfarin_simulation.py": ["--repeats", "1", "--work", "0.002", "--patients", "2"],
}


def run(case, *words):
    command = [sys.executable, str(FOLDER / case.split()[0]), *CASES[case], *words]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]  # a working copy need not be installed
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_timed_benchmark_is_run_here():
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    scripts = {name for name, text in texts.items() if "from measure import" in text and "__main__" in text}
    assert scripts == {case.split()[0] for case in CASES}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux only")
def test_the_memory_of_a_command_is_that_of_all_it_has_started(monkeypatch):
    assert "GB, all processes" in run("align_time.py")
    monkeypatch.syspath_prepend(str(FOLDER))
    from align_time import family_memory

    grab = "x = b'1' * 50_000_000; print(1, flush=True); input()"
    child = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {grab!r}]))"
    words = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", child], **words) as process:
        process.stdout.readline()
        used = family_memory(process.pid)
        process.communicate("\n")
    assert 0.05 < used < 0.15


def test_ppo_cartpole_says_how_to_get_the_peers(tmp_path):
    out = run("ppo_cartpole.py", "--peers", str(tmp_path / "none"))
    assert "Stable-Baselines3" in out
    assert "skipped" in out
    assert "pip install -r benchmarks/peers.txt" in out
    assert "1.00x" in out


def test_speed_is_the_races_in_one_table(tmp_path):
    out = run("speed.py", "--peers", str(tmp_path / "none"))
    assert "PPO on CartPole, 8 x 128" in out
    assert "Cumulant, engine torch" in out
    assert "goal" in out


def test_off_policy_speed_times_every_algorithm(tmp_path):
    result = json.loads(run("off_policy_speed.py", "--json", "--peers", str(tmp_path / "none")))
    assert set(result["runs"]) == {f"{algo}, Cumulant" for algo in ("sac", "td3", "tqc", "dqn")}
    assert all(entry["steps_per_cpu_second"]["median"] > 0 for entry in result["runs"].values())
    assert "pip install -r benchmarks/peers.txt" in result["skipped"][0]


@pytest.mark.parametrize("case", ["ppo_gymnasium.py", "ppo_warfarin.py", "ppo_pong.py"])
def test_races_time_ours_without_peers(case, tmp_path):
    if case == "ppo_pong.py":
        pytest.importorskip("ale_py")
    result = json.loads(run(case, "--json", "--peers", str(tmp_path / "none")))
    assert result["runs"]["Cumulant"]["steps_per_cpu_second"]["median"] > 0
    assert all(name.startswith("Cumulant") for name in result["runs"])
    assert len(result["skipped"]) == 1


def test_search_has_a_row_for_each_size_without_peers(tmp_path):
    none = str(tmp_path / "none")
    rows = run("search.py", "--peers", none, "--peers-openspiel", none).splitlines()[2:]
    assert len(rows) == 7
    for row in rows:
        rate, peer = (cell.strip() for cell in row.strip("|").split("|")[3:5])
        assert float(rate.replace(",", "")) > 0
        assert peer == "skipped"


def test_game_strength_rates_networks_and_opponents_and_plays_no_pair_twice(tmp_path):
    import cumulant

    fields = {"num_envs": 16, "simulations": 2, "channels": 8, "blocks": 1, "eval_simulations": 2, "elo_games": 0}
    cumulant.train("alphazero", "tictactoe", out=tmp_path / "run", total_steps=1024, eval_every_steps=256, **fields)
    words = [str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    page = run("game_strength.py", *words)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "| after" in line]
    assert [row[0] for row in rows] == ["after 256 moves", "after 768 moves", "after 1,024 moves"]
    assert [bool(row[3]) for row in rows] == [True, False, True]
    assert "| 100 random games a move |" in page
    assert "cumulant train alphazero tictactoe --total-steps 1024 --num-envs 16" in page
    (file,) = (tmp_path / "out").glob("run-*.json")
    played = file.stat().st_mtime_ns
    assert rows[0][1] in run("game_strength.py", *words)
    assert file.stat().st_mtime_ns == played
    run("game_strength.py", *words, "--simulations", "2")
    assert len(list((tmp_path / "out").glob("run-*.json"))) == 2, "played with other settings"


def test_ppo_cartpole_solve_judges_held_out_episodes():
    result = json.loads(run("ppo_cartpole.py --solve", "--json"))
    (seed,) = result["seeds"]
    assert seed["episodes"] == 100
    assert seed["steps"] == 1024
    assert seed["solved"] == (seed["return_mean"] >= 475)
    assert result["solved"] == seed["solved"]


def test_real_environments_says_what_is_left_out():
    result = json.loads(run("real_environments.py", "--json"))
    for env in ("Hopper-v5", "ALE/Pong-v5"):
        assert (env in result["runs"]) != any(env in line for line in result["missing"])


def test_control_results_has_a_row_for_each_cell_and_goes_on_where_it_was():
    page = run("control_results.py")
    (row,) = [line for line in page.splitlines() if line.startswith("| cartpole, reinforce")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:5] == ["2", "600"]
    centre, worst = float(cells[1].split()[0]), float(cells[2])
    assert 8.0 <= worst <= centre <= 500.0
    began = time.monotonic()
    assert row in run("control_results.py")
    assert time.monotonic() - began < 60  # nothing is trained again
    runs = Path(CASES["control_results.py"][-1]) / "reinforce" / "cartpole"
    assert sorted(path.name for path in runs.glob("seed_*")) == ["seed_0", "seed_1"]


def test_align_results_puts_the_goals_beside_what_was_measured():
    def model(name, **figures):
        return {
            "name": name,
            "label": name.upper(),
            "figures": {key: {"value": value} for key, value in figures.items()},
        }

    shared = {"win_bag_of_words": 0.5, "win_lexicon": 0.5, "distinct_2": 0.8, "fluency": -4.0}
    found = {
        "kind": "align", "preset": "demo", "seed": 0, "prompts": 2, "notice": "Praise.", "rule": {"text": "a rule"},
        "models": [
            model("sft", **shared, kl_nats=0.0),
            model("rlhf", **shared | {"win_lexicon": 0.75, "distinct_2": 0.76}, kl_nats=4.0),
            model("rlhf_beta_0", **shared | {"distinct_2": 0.2}, kl_nats=32.0),
            model("dpo", **shared, kl_nats=1.0),
        ],
        "stages": [{"name": "reward_model", "algo": "reward_model", "seconds": 9.0, "figures": {"accuracy": {"value": 0.875}}}],
        "samples": [{"prompt": "once", "human": "upon `a` time", "answers": {"rlhf": {"text": "more", "accepted": False}}}],
    }  # fmt: skip
    (Path(CASES["align_results.py"][-1]) / "judgement.json").write_text(json.dumps(found))
    page = run("align_results.py")
    assert "| reward model on held-out human pairs, more than 1 apart | >= 85 % | 87.5 % |" in page
    assert "| PPO beats SFT, by lexicon | >= 80 % | 75 % |" in page
    assert "| its distinct-2, of SFT's | >= 0.9 | 0.95 |" in page
    assert "| beta 0: KL, of PPO's | >= 5 | 8.0 |" in page
    assert "| beta 0: distinct-2, of SFT's | < 0.5 | 0.25 |" in page
    assert "- human: `upon 'a' time`\n- RLHF (breaks the rule): `more`" in page


def test_minatar_steps_has_a_row_for_each_game():
    page = run("minatar_steps.py")
    for game in ("asterix", "breakout", "freeway", "seaquest", "space"):
        assert re.search(rf"^\| \S*{game}.*\d", page, re.MULTILINE), game


def test_rlhf_writes_the_same_greedy_tokens_and_learns_from_the_same_loss():
    pytest.importorskip("transformers")
    runs = json.loads(run("rlhf.py", "--json"))["runs"]
    assert len(runs) == 8
    assert all(entry["ours_is_faster_by"]["median"] > 0 for entry in runs.values())
    assert runs["write 2 x (16 + 64), greedy, float32"]["equal_tokens"] == 1.0
    assert all(
        entry.get("loss_difference", 0.0) < (1e-5 if "float32" in name else 2e-2) for name, entry in runs.items()
    )


@pytest.mark.parametrize(("case", "rows", "needs"), [("texts", 4, ["text"]), ("answers", 2, ["text", "ppo"])])
def test_rlhf_times_every_stage_without_peers(case, rows, needs, tmp_path):
    pytest.importorskip("transformers")
    missing = ["--peers", str(tmp_path / "none"), "--peers-ppo", str(tmp_path / "none")]
    found = json.loads(run(f"rlhf.py {case}", "--json", *missing))
    assert found["runs"] == {}
    assert len(found["stages"]) == rows
    for name, entry in found["stages"].items():
        assert entry["cpu_seconds"]["Cumulant"]["median"] > 0, name
        assert 50 < entry["peak_mib"]["Cumulant"]["median"] < 4096, name
        assert "share_of_peer" not in entry
    if case == "texts":
        once, again = (
            found["stages"][f"DPO, 8 pairs{which}"]["cpu_seconds"]["Cumulant"]["median"]
            for which in ("", ", further passes")
        )
        assert once > again  # the reference is counted
    assert len(found["skipped"]) == len(needs)
    for word, line in zip(needs, found["skipped"]):
        assert f"benchmarks/peers_{word}.txt" in line


def test_a_section_of_results_is_written_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import measure

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    for heading, text in (("One", "a"), ("Two", "b\n\n- c"), ("One", "d")):
        path = measure.write_section("page", "Title", heading, [text])
    assert path.read_text(encoding="utf-8") == "# Title\n\n## One\n\nd\n\n## Two\n\nb\n\n- c\n"


def test_warfarin_simulation_is_accurate():
    runs = json.loads(run("warfarin_simulation.py", "--json"))["runs"]
    errors = {name: entry["max_inr_error"] for name, entry in runs.items()}
    assert len(runs) == 14
    for name, error in errors.items():  # independent ways to the same INR
        assert error < (2e-3 if name.startswith("numpy") else 2e-4), name
    assert all(entry["patient_days_per_cpu_second"]["median"] > 0 for entry in runs.values())


@pytest.mark.parametrize("path", sorted((FOLDER / "peers").glob("*.py")), ids=lambda path: path.name)
def test_peers_know_nothing_of_ours(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported.isdisjoint({"cumulant", "measure"})


def test_peers_have_our_versions():
    """What is compared is the libraries, not their torch."""

    def pinned(path):
        lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
        return dict(line.split("==") for line in lines)

    ours, peers = pinned(ROOT / "constraints.txt"), pinned(FOLDER / "peers.txt")
    assert {name: ours[name] for name in ("torch", "gymnasium")} == {
        name: peers[name] for name in ("torch", "gymnasium")
    }
    for name in ("peers_text.txt", "peers_ppo.txt"):
        assert pinned(FOLDER / name)["torch"] == ours["torch"]


def test_time_to_475_names_a_seed_that_is_not_there(tmp_path):
    (run_of_ours,) = json.loads(run("time_to_475.py", "--json", "--peers", str(tmp_path / "none")))["runs"]["Cumulant"]
    assert run_of_ours["steps"] == 2048
    assert run_of_ours["last_returns"] < 475
    assert 0.5 < run_of_ours["cpu"] < 100


def test_engines_compares_two_curves():
    page = run("engines.py").splitlines()
    rows = [line.strip("|").split("|") for line in page if " of 4 " in line]
    assert len(rows) == 4
    for _, ours, theirs, difference, holds in rows:
        gap = float(ours.split()[0]) - float(theirs.split()[0])
        low, high = (float(number) for number in re.search(r"\[(.+), (.+)\]", difference).groups())
        assert low - 0.2 <= gap <= high + 0.2
        assert holds.strip() == ("yes" if low <= 0.0 <= high else "no")
