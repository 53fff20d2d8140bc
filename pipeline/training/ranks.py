"""The processes that train together, as the loss and the metric need them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world_size`; a single one needs no process group."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def total(self, own: Tensor) -> Tensor:
        """The sum of every rank's tensor, on the CPU, the same everywhere."""
        if self.world_size == 1:
            return own
        everyone = own.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(everyone)
        return everyone.to(own.device)

    def from_first(self, own: Tensor) -> Tensor:
        """Rank 0's tensor, everywhere."""
        if self.world_size == 1:
            return own
        first = own.detach().to(self.device, copy=True)
        torch.distributed.broadcast(first, src=0)
        return first.to(own.device)

    def reduce(self, sums: Tensor) -> Tensor:
        """The sum of every rank's sums that keeps this rank's gradient, as `concordance_loss` asks for it."""
        if self.world_size == 1:
            return sums
        others = sums.detach().clone()
        torch.distributed.all_reduce(others)
        return sums + (others - sums.detach())
