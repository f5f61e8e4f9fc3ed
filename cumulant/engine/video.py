"""One greedy episode as a small animated picture, for the report.

Pictures come from whatever draws an environment: OpenGL, a window system, a game library. Any of them may be missing, print, hang
or bring its process down, so an episode is filmed in a process of its own. What goes wrong there is one line here.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from cumulant.engine.atari import AtariVector, is_game
from cumulant.engine.evaluate import Greedy, held_out
from cumulant.engine.gym_vector import GymVector
from cumulant.engine.masks import Masks
from cumulant.engine.policy import Policy
from cumulant.engine.single import make_single
from cumulant.envs import extras, lookup
from cumulant.envs.spaces import mask_slice
from cumulant.errors import CumulantError, EnvironmentFault
from cumulant.run.checkpoint import write_atomic

MAX_FRAMES, MAX_BYTES, MAX_WIDTH = 200, 2_000_000, 320
FACTS = "episode.json"
PICTURE = "episode.webp"
_SECONDS = 30.0  # for drawing; what is longer is shown from its beginning
_MAX_STEPS = 20_000
_FILMER = (
    "import sys; sys.path[:], sys.argv[1:] = sys.argv[1:], []; from cumulant.engine.video import main; sys.exit(main())"
)


def film(policy: Policy, env: str, options: Mapping[str, Any], seed: int, folder: Path) -> dict[str, Any]:
    """Film the first evaluation episode of a policy and write it to ``episode.webp`` with ``episode.json`` beside it.

    Args:
        policy: The policy.
        env: Environment.
        options: Its options.
        seed: Of the evaluation.
        folder: Where it is written: the directory of a run.

    Returns:
        What ``episode.json`` holds: ``return``, ``steps``, ``frames``, ``cut`` (whether it is shown from its beginning only).

    Raises:
        EnvironmentFault: If the environment cannot be drawn here (message says why in one line).
        StorageError: If the disk refuses.
    """
    with tempfile.TemporaryDirectory() as place:
        policy.save(place)
        order: dict[str, Any] = {
            "policy": place,
            "env": env,
            "options": dict(options),
            "seed": seed,
            "out": f"{place}/out",
        }
        try:
            filmer = subprocess.run(
                [sys.executable, "-c", _FILMER, *sys.path],
                input=json.dumps(order),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS * 6,
            )
            answer = json.loads(filmer.stdout.splitlines()[-1]) if filmer.stdout.strip() else {}
        except subprocess.TimeoutExpired:
            answer = {"error": f"it took longer than {_SECONDS * 6:.0f} seconds"}
        except ValueError:
            answer = {}
        if "frames" not in answer:
            said = answer.get("error") or " ".join([f"exit code {filmer.returncode}", *filmer.stderr.splitlines()[-1:]])
            raise EnvironmentFault(f"no video of '{env}': {' '.join(str(said).split())[:300]}")
        write_atomic(folder / PICTURE, Path(order["out"]).read_bytes())
        write_atomic(folder / FACTS, (json.dumps(answer) + "\n").encode())
    return answer


def main() -> int:
    """Film what stdin orders; the last line of stdout is what came of it."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    torch.set_num_threads(1)  # two that spin beside whatever draws are slower than one
    order = json.loads(sys.stdin.readline())
    try:
        policy = Policy.load(order["policy"], trust=True)  # the parent looked at it
        answer = _filmed(policy, order["env"], order["options"], order["seed"], Path(order["out"]))
    except CumulantError as problem:
        answer = {"error": str(problem)}
    except Exception as problem:
        answer = {"error": f"{type(problem).__name__}: {problem}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    os._exit(0)  # graphics libraries like to fail once more on the way out


def _filmed(policy: Policy, env: str, options: Mapping[str, Any], seed: int, out: Path) -> dict[str, Any]:
    envs, fps = _drawable(policy, env, options, held_out(seed))
    act, frames, stride, total, steps = Greedy(policy), [], 1, 0.0, 0
    deadline, cut = time.monotonic() + _SECONDS, False
    while True:
        cut = cut or time.monotonic() > deadline
        if steps % stride == 0 and not cut:
            frames.append(_smaller(_picture(envs)))
            if len(frames) > MAX_FRAMES:
                del frames[1::2]
                stride *= 2
        envs.step(act(envs.obs))
        total, steps = total + float(envs.reward[0]), steps + 1
        if envs.ended[0] or steps == _MAX_STEPS:
            break
    out.write_bytes(encode(frames, 1000.0 * stride / fps))
    return {"return": total, "steps": steps, "frames": len(frames), "cut": cut}


def _drawable(policy: Policy, env: str, options: Mapping[str, Any], seed: int) -> tuple[Any, float]:
    """Return one environment that can be drawn, and its steps per second."""
    if is_game(env):
        return AtariVector(env, 1, seed, options, training=False), 15.0
    native = lookup.find(env)
    if native is not None:  # Gymnasium's own, which it agrees with
        if not native.replaces:
            raise EnvironmentFault("it draws no pictures")
        env, options = native.replaces, {}
    given = {**options, "render_mode": "rgb_array"}
    extras.announce(env)
    spec = gymnasium.registry.get(env)
    if spec is not None and str(spec.entry_point).startswith(("gymnasium.envs.mujoco", "gymnasium_robotics")):
        given = {
            "width": MAX_WIDTH,
            "height": MAX_WIDTH * 3 // 4,
        } | given  # drawn by the processor, where time is pixels
    masks: Masks = "never" if mask_slice(policy.observation_space) is None else "always"
    envs = GymVector(env, 1, seed, lambda: make_single(env, given), masks)
    metadata = envs.envs[0].metadata
    if "rgb_array" not in metadata.get("render_modes", ()):
        raise EnvironmentFault("it draws no pictures: it has no render_mode 'rgb_array'")
    return envs, float(metadata.get("render_fps") or 30)


def _picture(envs: GymVector | AtariVector) -> np.ndarray:
    if isinstance(envs, AtariVector):  # what the policy sees
        return np.kron(envs.obs[0, :, :, -1], np.ones((3, 3), np.uint8))
    picture = np.asarray(envs.envs[0].render())
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise EnvironmentFault(f"its picture is {picture.dtype} {picture.shape}, not uint8 [height, width, 3]")
    return picture


def _smaller(picture: np.ndarray) -> Any:
    from PIL import Image

    image = Image.fromarray(picture)
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, max(1, round(image.height * MAX_WIDTH / image.width))))
    return image


def encode(frames: list[Any], duration_ms: float) -> bytes:
    """Return pictures as an animated WebP of at most ``MAX_BYTES``: with fewer of them where that is needed.

    Args:
        frames: Images of one size.
        duration_ms: How long each is shown.
    """
    payload = b""
    for images, duration in _thinner(frames, duration_ms):
        file = io.BytesIO()
        rest = {"save_all": True, "append_images": images[1:], "loop": 0, "method": 2, "quality": 60}
        images[0].save(file, "WEBP", duration=max(20, round(duration)), **rest)
        payload = file.getvalue()
        if len(payload) <= MAX_BYTES:
            break
    return payload


def _thinner(frames: list[Any], duration_ms: float) -> Iterator[tuple[list[Any], float]]:
    while frames:
        yield frames, duration_ms
        frames, duration_ms = frames[::2] if len(frames) > 1 else [], duration_ms * 2
