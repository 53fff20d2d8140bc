"""A stand-in for an accelerator: tensors in two memories that cannot be mixed, both in truth on the CPU."""

from __future__ import annotations

from typing import Any

from torch import Tensor

FAKE_DEVICE = "fake-device"


class FakeHostTensor(Tensor):
    """A tensor in the memory of the host; an operation that mixes it with one on the device raises a TypeError."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Move to FAKE_DEVICE, or do what a tensor does."""
        return self.as_subclass(FakeDeviceTensor) if args == (FAKE_DEVICE,) else super().to(*args, **kwargs)


class FakeDeviceTensor(Tensor):
    """A tensor in the memory of the device, as is everything computed from it."""

    def cpu(self, *_args: Any, **_kwargs: Any) -> Tensor:
        """Move to the host."""
        return self.as_subclass(FakeHostTensor)
