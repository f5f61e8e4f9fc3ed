"""The average of a network's weights over its last gradient steps, as a network of its own.

Steps on small batches leave weights that jitter about the place they are on the way to. Their average lies nearer to that place:
it judges better than any single one of them, as if the step size had been lowered first.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cumulant.nn.flat import Flat

Net = TypeVar("Net", bound=nn.Module)


class Averaged(Generic[Net]):
    """A network whose weights follow those of one that learns.

        average += (weights - average) / max(1, share * steps)

    So the average reaches back over a share of all steps so far, early in a training as well as late.

    Args:
        net: The network that learns.
        flat: Its parameters.
        share: Of the steps so far that are averaged over; 0 for no average: then ``net`` is the one that learns itself.

    Attributes:
        net: The average, in evaluation mode.
        steps: Gradient steps so far.

    Source:
        Polyak & Juditsky 1992; the growing reach: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion
        models", section 3.1; normalisation measured anew: Izmailov et al. 2018, "Averaging weights leads to wider optima".

    >>> net = nn.Linear(1, 1, bias=False)
    >>> flat = Flat(net)
    >>> averaged = Averaged(net, flat, 0.5)
    >>> for weight in (1.0, 2.0, 3.0, 4.0):
    ...     _ = flat.parameter.data.fill_(weight)
    ...     averaged.update()
    >>> round(averaged.net.weight.item(), 3)  # 1, 2, from there 1 / 1.5 of the way to 3, and half of the way to 4
    3.333
    """

    def __init__(self, net: Net, flat: Flat, share: float) -> None:
        self.share, self.steps, self._weights = share, 0, flat.parameter.data
        self.net = copy.deepcopy(net).eval() if share else net
        self._average = Flat(self.net).parameter.data if share else self._weights
        self._norms = [each for each in self.net.modules() if isinstance(each, _BatchNorm)] if share else []

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights after one more gradient step."""
        self.steps += 1
        if self.share:
            self._average.lerp_(self._weights, 1.0 / max(1.0, self.share * self.steps))

    @torch.no_grad()
    def settle(self, batches: Collection[Tensor]) -> None:
        """Measure the statistics that the average is normalised by, which are not the average of statistics.

        Args:
            batches: What the network is to be shown, a tensor a call; nothing changes without any.
        """
        if not self._norms or not batches:
            return
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        self.net.train()
        for batch in batches:
            self.net(batch)
        self.net.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {"steps": self.steps, "net": self.net.state_dict() if self.share else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        self.steps = int(state["steps"])
        if self.share:
            self.net.load_state_dict(state["net"])
