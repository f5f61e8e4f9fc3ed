"""Gymnasium's MuJoCo tasks as a batch: the simulations step in compiled code, everything else is one formula per batch.

Hopper-v5, Walker2d-v5, HalfCheetah-v5, Ant-v5 and Humanoid-v5, with all their options, agree with Gymnasium's own bit for bit:
the model, its options and their defaults are Gymnasium's; observations and rewards are computed here, for all environments at
once. Each environment keeps its own ``MjData``. ``mujoco.rollout`` would be one call for the whole batch, but it starts every
step with a cold constraint solver (it returns no warm start) and gives back positions and velocities only: it agrees with
Gymnasium only roughly, cannot serve Ant and Humanoid, and was not faster (docs/environments.md).

Axes: B parallel environments, A actuators, P coordinates that count as progress (1 in the plane, 2 in space).
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cumulant.engine.buffers import Buffers
from cumulant.engine.faults import bear, fault_limits
from cumulant.engine.single import make_single
from cumulant.errors import EnvironmentFault

Columns = Mapping[str, np.ndarray]
Options = Mapping[str, Any]
Constants = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """How a task reads its simulations.

    Args:
        columns: Fields of ``MjData`` that are gathered as ``[B, ...]`` after every step.
        position: Columns -> what the forward velocity is the change of, ``[B, P]``.
        observe: Options, columns -> the parts of an observation, ``[B, ...]`` each.
        reward: Options, columns, forward velocity ``[B]``, action ``[B, A]``, healthy ``[B]`` -> reward ``[B]``.
        healthy: Options, columns -> whether the body is as it should be, ``[B]``; None where nothing ends an episode early.
        normal_start: Whether the first velocities are normal, not uniform, random numbers.
    """

    columns: tuple[str, ...]
    position: Callable[[Constants, Columns], np.ndarray]
    observe: Callable[[Options, Columns], list[np.ndarray]]
    reward: Callable[[Options, Columns, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    healthy: Callable[[Options, Columns], np.ndarray] | None
    normal_start: bool = False


def _between(low_high: tuple[float, float], x: np.ndarray) -> np.ndarray:
    return (low_high[0] < x) & (x < low_high[1])


def _control(action: np.ndarray) -> np.ndarray:
    return np.square(action).sum(axis=1)  # in float32 like the action, as Gymnasium has it


# -- Hopper, Walker2d, HalfCheetah: in a plane ---------------------------------------------------------------------------


def _planar_position(k: Constants, c: Columns) -> np.ndarray:
    return c["qpos"][:, :1].copy()


def _planar(o: Options, c: Columns) -> list[np.ndarray]:
    return [c["qpos"][:, 1 if o["exclude_current_positions_from_observation"] else 0 :], c["qvel"]]


def _planar_clipped(o: Options, c: Columns) -> list[np.ndarray]:
    position, velocity = _planar(o, c)
    return [position, np.clip(velocity, -10, 10)]


def _planar_reward(o: Options, c: Columns, forward: np.ndarray, action: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    alive = healthy * o.get("healthy_reward", 0.0)
    return o["forward_reward_weight"] * forward + alive - (o["ctrl_cost_weight"] * _control(action))


def _hopper_healthy(o: Options, c: Columns) -> np.ndarray:
    state = np.concatenate([c["qpos"], c["qvel"]], axis=1)[:, 2:]
    return _between(o["healthy_state_range"], state).all(axis=1) & _walker_healthy(o, c)


def _walker_healthy(o: Options, c: Columns) -> np.ndarray:
    qpos = c["qpos"]
    return _between(o["healthy_z_range"], qpos[:, 1]) & _between(o["healthy_angle_range"], qpos[:, 2])


# -- Ant and Humanoid: in space ------------------------------------------------------------------------------------------


def _in_space(o: Options, c: Columns) -> list[np.ndarray]:
    return [c["qpos"][:, 2 if o["exclude_current_positions_from_observation"] else 0 :], c["qvel"]]


def _main_body(k: Constants, c: Columns) -> np.ndarray:
    return c["xpos"][:, k["main_body"], :2].copy()


def _contact(o: Options, c: Columns) -> np.ndarray:
    return np.clip(c["cfrc_ext"], *o["contact_force_range"])


def _ant_observe(o: Options, c: Columns) -> list[np.ndarray]:
    contact = [_contact(o, c)[:, 1:]] if o["include_cfrc_ext_in_observation"] else []
    return [*_in_space(o, c), *contact]


def _ant_reward(o: Options, c: Columns, forward: np.ndarray, action: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    contact = o["contact_cost_weight"] * np.square(_contact(o, c)).reshape(len(forward), -1).sum(axis=1)
    costs = o["ctrl_cost_weight"] * _control(action) + contact
    return forward * o["forward_reward_weight"] + healthy * o["healthy_reward"] - costs


def _ant_healthy(o: Options, c: Columns) -> np.ndarray:
    low, high = o["healthy_z_range"]
    finite = np.isfinite(c["qpos"]).all(axis=1) & np.isfinite(c["qvel"]).all(axis=1)
    return finite & (low <= c["qpos"][:, 2]) & (c["qpos"][:, 2] <= high)


def _mass_center(k: Constants, c: Columns) -> np.ndarray:
    mass = k["body_mass"]
    return (np.einsum("b,nbj->nj", mass, c["xipos"]) / mass.sum())[:, :2]


def _humanoid_observe(o: Options, c: Columns) -> list[np.ndarray]:
    parts = {"cinert": 1, "cvel": 1, "qfrc_actuator": 6, "cfrc_ext": 1}  # without the world, and the free joint
    chosen = [c[name][:, first:] for name, first in parts.items() if o[f"include_{name}_in_observation"]]
    return [*_in_space(o, c), *chosen]


def _humanoid_reward(
    o: Options, c: Columns, forward: np.ndarray, action: np.ndarray, healthy: np.ndarray
) -> np.ndarray:
    contact = o["contact_cost_weight"] * np.square(c["cfrc_ext"]).reshape(len(forward), -1).sum(axis=1)
    costs = o["ctrl_cost_weight"] * _control(action.astype(np.float64)) + np.clip(contact, *o["contact_cost_range"])
    return o["forward_reward_weight"] * forward + healthy * o["healthy_reward"] - costs


def _humanoid_healthy(o: Options, c: Columns) -> np.ndarray:
    return _between(o["healthy_z_range"], c["qpos"][:, 2])


_HUMANOID = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos")
TASKS = {
    "Hopper-v5": Task(("qpos", "qvel"), _planar_position, _planar_clipped, _planar_reward, _hopper_healthy),
    "Walker2d-v5": Task(("qpos", "qvel"), _planar_position, _planar_clipped, _planar_reward, _walker_healthy),
    "HalfCheetah-v5": Task(("qpos", "qvel"), _planar_position, _planar, _planar_reward, None, normal_start=True),
    "Ant-v5": Task(
        ("qpos", "qvel", "cfrc_ext", "xpos"), _main_body, _ant_observe, _ant_reward, _ant_healthy, normal_start=True
    ),
    "Humanoid-v5": Task(_HUMANOID, _mass_center, _humanoid_observe, _humanoid_reward, _humanoid_healthy),
}


class MujocoVector(Buffers):
    """B simulations of one task, behind the interface of ``VectorEnv``.

    They step on as many threads as torch has (``--threads``; one by default); the result does not depend on it.
    The state is MuJoCo's own, so a restored batch goes on bit-exactly at once, without replaying anything.

    Args:
        env: One of ``TASKS``.
        num_envs: B.
        seed: Run seed; episodes are those that ``GymVector`` plays.
        options: Keyword arguments of Gymnasium's environment.

    Raises:
        MissingPackage: If MuJoCo is not installed (message names the extra).
        EnvironmentFault: If Gymnasium refuses the options.

    Source:
        ``gymnasium.envs.mujoco``, version 5 of each task.
    """

    def __init__(self, env: str, num_envs: int, seed: int, options: Mapping[str, Any]) -> None:
        made = make_single(env, options)
        import mujoco

        self._mujoco, self._task = mujoco, TASKS[env]
        single: Any = made.unwrapped
        spec = made.spec
        limit = 0 if spec is None else int(spec.max_episode_steps or 0)
        super().__init__(env, num_envs, seed, single.observation_space, single.action_space, limit)
        self._max_faults = fault_limits().max_faults
        given = {} if spec is None else spec.kwargs
        signature = inspect.signature(type(single).__init__).parameters
        self._options = {name: given.get(name, item.default) for name, item in signature.items()}
        self._model, self._dt, self._frame_skip = single.model, single.dt, single.frame_skip
        self._start = (single.init_qpos.copy(), single.init_qvel.copy())
        self._constants = {"body_mass": self._model.body_mass.copy()}
        if "main_body" in self._options:
            self._constants["main_body"] = self._model.body(self._options["main_body"]).id
        made.close()
        self._data = [mujoco.MjData(self._model) for _ in range(num_envs)]
        self._control = [data.ctrl for data in self._data]  # views; asking for them anew costs more than a copy
        self._columns: dict[str, np.ndarray] = {}
        self._gathered: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(num_envs)]
        for name in self._task.columns:
            views = [getattr(data, name) for data in self._data]
            self._columns[name] = np.zeros((num_envs, *views[0].shape))
            for i, view in enumerate(views):
                self._gathered[i].append((self._columns[name][i], view))
        threads = max(1, min(torch.get_num_threads(), num_envs))
        edges = [num_envs * k // threads for k in range(threads + 1)]
        self._shares = list(itertools.pairwise(edges))
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._position = np.zeros((num_envs, self._task.position(self._constants, self._columns).shape[1]))
        self._begin(np.ones(num_envs, bool))

    def _begin(self, mask: np.ndarray) -> None:
        """Start the episodes where ``mask [B]`` is set, as Gymnasium's ``reset(seed=...)`` does."""
        spread = float(self._options["reset_noise_scale"])
        qpos, qvel = self._start
        for i in map(int, np.flatnonzero(mask)):
            data, rng = self._data[i], np.random.Generator(np.random.PCG64(self.seed_of(i)))
            self._mujoco.mj_resetData(self._model, data)
            data.qpos[:] = qpos + rng.uniform(-spread, spread, len(qpos))
            if self._task.normal_start:
                data.qvel[:] = qvel + spread * rng.standard_normal(len(qvel))
            else:
                data.qvel[:] = qvel + rng.uniform(-spread, spread, len(qvel))
            self._mujoco.mj_forward(self._model, data)
            for column, view in self._gathered[i]:
                column[...] = view
        self.clock[mask] = 0
        self._position[mask] = self._task.position(self._constants, self._columns)[mask]
        self.obs[mask] = self._observation()[mask]

    def _observation(self) -> np.ndarray:
        parts = self._task.observe(self._options, self._columns)
        return np.concatenate([part.reshape(self.num_envs, -1) for part in parts], axis=1)

    def _simulate(self, share: tuple[int, int], action: np.ndarray) -> None:
        """Step one thread's share of the simulations; MuJoCo's calls release the interpreter's lock."""
        model, frame_skip = self._model, self._frame_skip
        step, forces = self._mujoco.mj_step, self._mujoco.mj_rnePostConstraint
        for i in range(*share):
            data = self._data[i]
            self._control[i][:] = action[i]
            step(model, data, frame_skip)
            forces(model, data)
            for column, view in self._gathered[i]:
                column[...] = view

    def step(self, action: np.ndarray) -> None:
        """Advance every environment by one step; episodes that end start anew.

        Args:
            action: float32 ``[B, A]``.

        Raises:
            EnvironmentFault: If simulations give numbers that are not finite too often, or in the first step of all.
        """
        action = action.reshape(self.num_envs, -1)
        if self._pool is None:
            self._simulate(self._shares[0], action)
        else:
            others = [self._pool.submit(self._simulate, share, action) for share in self._shares[1:]]
            self._simulate(self._shares[0], action)
            for other in others:
                other.result()
        task, options, columns = self._task, self._options, self._columns
        position = task.position(self._constants, columns)
        forward = (position[:, 0] - self._position[:, 0]) / self._dt
        self._position = position
        healthy = np.zeros(self.num_envs, bool) if task.healthy is None else task.healthy(options, columns)
        self.next_obs[:] = self._observation()
        self.reward[:] = reward = task.reward(options, columns, forward, action, healthy)
        self.clock += 1
        if task.healthy is not None and options["terminate_when_unhealthy"]:
            np.logical_not(healthy, out=self.terminated)
        if self.max_steps:
            np.greater_equal(self.clock, self.max_steps, out=self.truncated)
        self.faulted[:] = ~(np.isfinite(self.next_obs).all(axis=1) & np.isfinite(reward))
        if self.faulted.any():
            self._cut_off()
        np.logical_or(self.terminated, self.truncated, out=self.ended)
        self.episodes.record(self.reward, None, self.ended & ~self.faulted)
        self.episodes.open[self.faulted] = 0.0
        self.obs[:] = self.next_obs
        if self.ended.any():
            self.episode += self.ended
            self._begin(self.ended)

    def _cut_off(self) -> None:
        """End unstable episodes at their last good observation, as ``GymVector`` does."""
        bad = self.faulted
        for i in map(int, np.flatnonzero(bad)):
            said = f"{self.where(i)} gave numbers that are not finite: it is unstable"
            if self.episode[i] == 0 and self.clock[i] == 1:  # it never worked
                raise EnvironmentFault(said)
            self.faults += 1
            bear(self.faults, self._max_faults, said, "the episode is given up")
        self.next_obs[bad], self.reward[bad] = self.obs[bad], 0.0
        self.terminated[bad], self.truncated[bad] = False, True

    def restart(self, mask: np.ndarray) -> np.ndarray:
        """Give up the episodes where ``mask [B]`` is set, start the next ones, and return ``obs``."""
        self.episodes.open[mask] = 0.0
        self.episode += mask
        self._begin(mask)
        return self.obs

    def state_dict(self) -> dict[str, Any]:
        """MuJoCo's whole state of every simulation, solver warm start included."""
        mujoco = self._mujoco
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.zeros((self.num_envs, mujoco.mj_stateSize(self._model, kind)))
        for row, data in zip(physics, self._data):
            mujoco.mj_getState(self._model, data, row, kind)
        arrays = {"obs": self.obs, "position": self._position, "episode": self.episode, "clock": self.clock}
        copies = {name: array.copy() for name, array in arrays.items()}
        return {
            "seed": self.seed,
            "physics": physics,
            "faults": self.faults,
            "log": self.episodes.state_dict(),
            **copies,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.seed, self.faults = int(state["seed"]), int(state["faults"])
        for row, data in zip(state["physics"], self._data, strict=True):
            self._mujoco.mj_resetData(self._model, data)
            self._mujoco.mj_setState(self._model, data, np.asarray(row), self._mujoco.mjtState.mjSTATE_INTEGRATION)
        for name, array in (("obs", self.obs), ("position", self._position)):
            array[:] = state[name]
        self.episode[:], self.clock[:] = state["episode"], state["clock"]
        self.episodes.load_state_dict(state["log"])

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
