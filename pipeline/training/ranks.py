"""The processes that train together, and the sums and copies that they exchange."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world_size`; a single one needs no process group, and gets its own tensors back."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - immutable

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """The sum of every rank's tensor, the same on every rank, on the device of `tensor`."""
        if self.world_size == 1:
            return tensor
        total = tensor.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(tensor.device)

    def broadcast_from_first(self, tensor: Tensor) -> Tensor:
        """Rank 0's tensor on every rank, on the device of `tensor`."""
        if self.world_size == 1:
            return tensor
        first = tensor.detach().to(self.device, copy=True)
        torch.distributed.broadcast(first, src=0)
        return first.to(tensor.device)

    def all_reduce_with_gradient(self, sums: Tensor) -> Tensor:
        """The sum of every rank's sums that keeps this rank's gradient; the `reduce` of `concordance_loss`."""
        if self.world_size == 1:
            return sums
        total = sums.detach().clone()
        torch.distributed.all_reduce(total)
        return sums + (total - sums.detach())
