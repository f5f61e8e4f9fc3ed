"""A limit on what episodes may cost, kept by a Lagrange multiplier; for any algorithm that can weigh a second objective."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from cumulant.engine.buffers import Buffers
from cumulant.engine.vector import VectorEnv
from cumulant.envs.batched import Batch
from cumulant.errors import ConfigError
from cumulant.maths.constraint import dual_ascent
from cumulant.run.config import require


@dataclass(frozen=True)
class ConstraintConfig:
    """A limit on what episodes may cost."""

    cost_limit: float | None = None
    """Highest mean cost of an episode: the plain sum of what its steps report in info["cost"]; none for no limit."""
    multiplier_rate: float = 0.05
    """How fast the price of a unit of cost follows the excess: its step for one unit too much, per row of metrics."""

    def __post_init__(self) -> None:
        require(self, "cost_limit", self.cost_limit is None or self.cost_limit >= 0.0, "at least 0, or none")
        require(self, "multiplier_rate", self.multiplier_rate > 0.0, "above 0")


class Multiplier:
    """The price of a unit of cost: rises while training episodes cost more than the limit on average, and falls again.

    Cost is what an episode sums up, undiscounted, under the policy as it acts in training, its exploration included.

    Args:
        config: Options.
        envs: The environments, if they are to be asked whether there are costs at all.

    Attributes:
        value: The price; stays 0 without a limit.

    Raises:
        ConfigError: If there is a limit, and it is known that the environments report no costs.

    >>> price = Multiplier(ConstraintConfig(cost_limit=10.0, multiplier_rate=0.1))
    >>> for cost in (15.0, 15.0, 8.0):
    ...     price.update({"episode/count": 4, "episode/cost": cost})
    >>> round(price.value, 3)
    0.8
    """

    def __init__(self, config: ConstraintConfig, envs: VectorEnv | None = None) -> None:
        self.config = config
        self.value = 0.0
        self._doubted = False
        # compiled environments know beforehand; of any other one learns by its infos
        if self.active and isinstance(envs, Batch | Buffers) and not envs.has_costs:
            raise ConfigError(
                f"cost_limit = {config.cost_limit}: this environment reports no costs, so that there is nothing to limit"
            )

    @property
    def active(self) -> bool:
        """Whether there is a limit."""
        return self.config.cost_limit is not None

    def update(self, metrics: Mapping[str, float]) -> None:
        """Move the price by the mean cost of the episodes that ended; it stays where none did.

        Args:
            metrics: Of ``episode_metrics``.
        """
        if self.config.cost_limit is None or not metrics["episode/count"]:
            return
        if "episode/cost" not in metrics and not self._doubted:
            self._doubted = True
            warnings.warn(
                f"cost_limit = {self.config.cost_limit}: no episode so far has reported a cost in info['cost'], so that the "
                "limit does nothing yet",
                stacklevel=2,
            )
        cost = metrics.get("episode/cost", 0.0)
        self.value = dual_ascent(self.value, cost, self.config.cost_limit, self.config.multiplier_rate)

    def metrics(self) -> dict[str, float]:
        """Return what to log: the price, if there is a limit."""
        return {"constraint/multiplier": self.value} if self.active else {}

    def state_dict(self) -> dict[str, float]:
        """Everything that a resumed run needs."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Undo ``state_dict``."""
        self.value = float(state["value"])
