"""Filming an episode: a process of its own, a small animated picture, and one line where it cannot be."""

import json

import numpy as np
import pytest
from PIL import Image

from cumulant import api
from cumulant.engine import video
from cumulant.errors import EnvironmentFault
from cumulant.report.html import page
from cumulant.report.load import load

SHOW = '''
import gymnasium, numpy as np, os
from gymnasium import spaces

class Show(gymnasium.Env):
    """A bar that grows with every step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = spaces.Box(0.0, 1.0, (1,)), spaces.Discrete(2)

    def __init__(self, render_mode=None, length=12, how="well"):
        self.length, self.how = length, how

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), 0.5, self.steps == self.length, False, {}

    def render(self):
        if self.how == "raises":
            raise RuntimeError("no picture\\ntoday")
        if self.how == "dies":
            os._exit(7)
        print("drawing")
        picture = np.zeros((50, 640, 3), np.uint8)
        picture[:, : 640 * self.steps // self.length] = 255
        return picture

class Blind(Show):
    metadata = {}
'''


@pytest.fixture
def trained(workspace, train_one):
    (workspace / "show.py").write_text(SHOW)

    def run(env="show.py:Show", **options):
        fields = {"total_steps": 128, "num_envs": 2, "horizon": 64, "eval_episodes": 2}
        return train_one("ppo", env, env_options=options, name=f"run{len(options)}", **fields)

    return run


@pytest.mark.slow
def test_a_film_is_in_the_report(trained, cli):
    run = trained(length=600)
    assert "<img" not in page(load(run))
    answer = cli("evaluate", run, "--episodes", "2", "--video", "--json")
    assert answer.code == 0
    assert answer.json["video"] == str(run / "episode.webp")
    film = Image.open(run / "episode.webp")
    assert film.size == (320, 25)
    assert 100 <= film.n_frames <= video.MAX_FRAMES
    shares = []
    for k in range(film.n_frames):
        film.seek(k)
        shares.append(np.asarray(film.convert("L")).mean() / 255)
    np.testing.assert_allclose(shares, np.linspace(0, 1, film.n_frames + 1)[:-1], atol=0.03)
    facts = json.loads((run / "episode.json").read_text())
    assert facts == {"return": 300.0, "steps": 600, "frames": film.n_frames, "cut": False}
    text = (run / "report.html").read_text()
    assert text.count('<img src="data:image/webp;base64,UklGR') == 1
    assert "600 steps, return 300." in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* imports show.py")
@pytest.mark.parametrize(
    ("env", "options", "said"),
    [
        ("show.py:Show", {"how": "raises"}, "RuntimeError: no picture today"),
        ("show.py:Show", {"how": "dies"}, "exit code 7"),
        ("show.py:Blind", {}, "it draws no pictures"),
        ("probe-value", {}, "it draws no pictures"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(trained, cli, env, options, said):
    run = trained(env, **options)
    with pytest.raises(EnvironmentFault, match=f"^no video of '{env}': .*{said}"):
        api.film(run)
    assert not (run / "episode.webp").exists()
    if options.get("how") == "raises":
        answer = cli("evaluate", run, "--episodes", "2", "--video")
        assert answer.code == 0
        assert answer.out.splitlines()[-1].startswith("no video of 'show.py:Show'")


def test_a_film_of_another_environment_is_refused(cli, workspace):
    answer = cli("evaluate", "nowhere", "--video", "--env", "CartPole-v1")
    assert answer.code == 2
    assert "leave --env and --env-option out" in answer.err


def test_noise_is_cut_down_to_the_limit(monkeypatch):
    monkeypatch.setattr(video, "MAX_BYTES", 60_000)
    dice = np.random.default_rng(0)
    frames = [Image.fromarray(dice.integers(0, 255, (64, 64, 3), np.uint8)) for _ in range(60)]
    payload = video.encode(frames, 30.0)
    assert 10_000 < len(payload) <= 60_000
