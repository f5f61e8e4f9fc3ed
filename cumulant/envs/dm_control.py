"""Tasks of the DeepMind Control Suite as Gymnasium environments.

``dm_control/walker-walk`` is the task "walk" of the domain "walker"; ``cumulant.envs.extras`` makes the ids known.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from cumulant.envs.extras import optional
from cumulant.errors import ConfigError


class DmControl(gymnasium.Env):
    """A control task whose observations are one float32 vector: the suite's, in the suite's order.

    An action is repeated ``action_repeat`` times and the rewards add up, as in the published curves, which count frames: one
    step here is so many frames. Repeating stops where the episode ends. The suite's time limit (1000 frames) truncates; only a
    step whose discount is 0 terminates.

    Args:
        task: Domain and task, such as "walker-walk".
        action_repeat: Frames per step.
        render_mode: "rgb_array" or None.
        width: Of a rendered frame, pixels.
        height: Of a rendered frame, pixels.
        camera: Number of the camera that renders.

    Raises:
        ConfigError: If ``action_repeat`` is below 1.
        MissingPackage: If dm_control is not installed.

    Source:
        Tassa et al. 2018, "DeepMind Control Suite".
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 40}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        action_repeat: int = 2,
        render_mode: str | None = None,
        width: int = 320,
        height: int = 240,
        camera: int = 0,
    ) -> None:
        if action_repeat < 1:
            raise ConfigError(
                f"environment 'dm_control/{task}': action_repeat = {action_repeat}; it must be at least 1"
            )
        self.render_mode, self.action_repeat = render_mode, action_repeat
        self._picture = {"width": width, "height": height, "camera_id": camera}
        domain, _, name = task.partition("-")
        self._env = optional("dm_control.suite", "robotics", f"dm_control/{task}").load(domain, name)
        self.metadata = self.metadata | {"render_fps": round(1.0 / (self._env.control_timestep() * action_repeat))}
        spec = self._env.action_spec()
        low, high = (np.broadcast_to(bound, spec.shape).astype(np.float32) for bound in (spec.minimum, spec.maximum))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        size = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _flat(self, step: Any) -> np.ndarray:
        return np.concatenate([np.ravel(part) for part in step.observation.values()]).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; see ``gymnasium.Env.reset``."""
        super().reset(seed=seed)
        if seed is not None:
            generator = self._env.task.random  # the task's own
            generator.seed(seed)
        return self._flat(self._env.reset()), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by ``action_repeat`` frames; see ``gymnasium.Env.step``."""
        reward, frames = 0.0, 0
        while frames < self.action_repeat:
            step = self._env.step(action)
            reward, frames = reward + float(step.reward), frames + 1
            if step.last():
                break
        terminated = bool(step.last() and step.discount == 0.0)
        return self._flat(step), reward, terminated, bool(step.last() and not terminated), {"frames": frames}

    def render(self) -> Any:
        """Return the picture now, ``[height, width, 3]`` uint8."""
        return self._env.physics.render(**self._picture)

    def close(self) -> None:
        """Free the simulation."""
        self._env.close()
