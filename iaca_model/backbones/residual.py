"""The papers' backbones: R(2+1)D-18 over sub-clips of crops, ResNet-18 with a one-channel stem over spectrograms.

R(2+1)D: 1711.11248. ResNet: 1512.03385. Names and shapes of parameters and buffers are those of torchvision's
r2plus1d_18 and resnet18 (the latter with a one-channel `conv1`), so that published weights load; the classifier `fc` is
left out, because nothing would use it. They are written here and not imported, because torchvision's wheels are built
for one torch and CUDA each and fail to import beside another torch, such as a CPU build. Shape letters as in
`iaca_model.config`; N counts images or sub-clips.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from iaca_model.backbones.normalisation import CROP_MEAN, CROP_STD, normalise_mel
from iaca_model.config import Frozen
from iaca_model.layers import linear

FEATURE_DIM = 512
_WIDTHS = (64, 128, 256, 512)  # of the four stages
_PARTLY_FROZEN = ("stem", "conv1", "bn1", "layer1", "layer2", "layer3")  # all but the last stage, of either network


class VideoBlock(nn.Module):
    """A residual block of two (2+1)-D convolutions: (N, C, T, H, W) -> (N, C', T / s, H / s, W / s), rounded up.

    Args:
        num_in: C.
        num_out: C'.
        stride: s, of the first convolution and of the shortcut.
    """

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        num_mid = num_in * num_out * 27 // (num_in * 9 + 3 * num_out)  # as many weights as a 3x3x3 convolution
        self.conv1 = nn.Sequential(_factored(num_in, num_mid, num_out, stride), nn.BatchNorm3d(num_out), nn.ReLU())
        self.conv2 = nn.Sequential(_factored(num_out, num_mid, num_out, 1), nn.BatchNorm3d(num_out))
        self.downsample = None
        if stride != 1 or num_in != num_out:
            narrow = nn.Conv3d(num_in, num_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(narrow, nn.BatchNorm3d(num_out))

    def forward(self, x_NCTHW: Tensor) -> Tensor:
        """ReLU(convolutions(x) + shortcut(x))."""
        shortcut = x_NCTHW if self.downsample is None else self.downsample(x_NCTHW)
        return torch.relu(self.conv2(self.conv1(x_NCTHW)) + shortcut)


def _factored(num_in: int, num_mid: int, num_out: int, stride: int) -> nn.Sequential:
    """A convolution over height and width, then one over time."""
    spatial = nn.Conv3d(num_in, num_mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(num_mid, num_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(spatial, nn.BatchNorm3d(num_mid), nn.ReLU(), temporal)


class ImageBlock(nn.Module):
    """A residual block of two 3 x 3 convolutions: (N, C, H, W) -> (N, C', H / s, W / s), rounded up.

    Args:
        num_in: C.
        num_out: C'.
        stride: s, of the first convolution and of the shortcut.
    """

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.downsample = None
        if stride != 1 or num_in != num_out:
            narrow = nn.Conv2d(num_in, num_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(narrow, nn.BatchNorm2d(num_out))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """ReLU(convolutions(x) + shortcut(x))."""
        shortcut = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
        inner_NCHW = torch.relu(self.bn1(self.conv1(x_NCHW)))
        return torch.relu(self.bn2(self.conv2(inner_NCHW)) + shortcut)


def _stages(block: Callable[[int, int, int], nn.Module]) -> OrderedDict[str, nn.Module]:
    """Build the stages layer1 ... layer4 of two blocks each; all but the first halve the size of their input."""
    stages, num_in = OrderedDict[str, nn.Module](), _WIDTHS[0]
    for number, num_out in enumerate(_WIDTHS, start=1):
        stride = 1 if number == 1 else 2
        stages[f"layer{number}"] = nn.Sequential(block(num_in, num_out, stride), block(num_out, num_out, 1))
        num_in = num_out
    return stages


def r2plus1d_18() -> nn.Sequential:
    """Build R(2+1)D-18 without its classifier: (N, 3, T, H, W) -> (N, 512, T / 8, H / 16, W / 16), rounded up."""
    stem = nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(45),
        nn.ReLU(),
        nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(),
    )
    return nn.Sequential(OrderedDict(stem=stem, **_stages(VideoBlock)))


def resnet_18() -> nn.Sequential:
    """Build ResNet-18 for one channel, without its classifier: (N, 1, H, W) -> (N, 512, H / 32, W / 32), rounded up."""
    stem: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(1, 64, 7, 2, 3, bias=False), bn1=nn.BatchNorm2d(64), relu=nn.ReLU()
    )
    return nn.Sequential(OrderedDict(**stem, maxpool=nn.MaxPool2d(3, 2, 1), **_stages(ImageBlock)))


class Freezable(nn.Module):
    """A residual network with mean pooling, of which none, all but the last stage, or all stages are frozen.

    A frozen stage is not trained, and its BatchNorm keeps the running statistics that it was loaded with.

    Args:
        body: an `r2plus1d_18` or a `resnet_18`.
        feature_dim: D; where it is not 512, a linear layer maps to it.
        frozen: "none", "partly" (all but the last stage) or "all".
    """

    def __init__(self, body: nn.Sequential, feature_dim: int, frozen: Frozen) -> None:
        super().__init__()
        self.body = body
        self.project = nn.Identity() if feature_dim == FEATURE_DIM else linear(FEATURE_DIM, feature_dim)
        names = {"none": (), "partly": _PARTLY_FROZEN, "all": tuple(name for name, _ in body.named_children())}[frozen]
        self.frozen = [stage for name, stage in body.named_children() if name in names]
        for stage in self.frozen:
            stage.requires_grad_(False)
            stage.eval()  # a new module is in training mode before `train` is ever called

    def train(self, mode: bool = True) -> Freezable:
        """Set training mode as for every module, but leave frozen stages in evaluation mode."""
        super().train(mode)
        for stage in self.frozen:
            stage.eval()
        return self

    def pooled(self, x: Tensor) -> Tensor:
        """Features (N, D): the mean of the last maps over all their positions."""
        return self.project(self.body(x).flatten(2).mean(-1))


class ResidualVideo(Freezable):
    """R(2+1)D-18 over every sub-clip, its crops normalised as for Kinetics: (B, L, T, H, W, 3) -> (B, L, D).

    Exact: 1711.11248, except that the papers' spatial attention over its 7 x 7 maps is a mean here.

    Args:
        feature_dim: D.
        frozen: see Freezable.
    """

    mean: Tensor  # (3, 1, 1, 1) of raw pixel values
    std: Tensor

    def __init__(self, feature_dim: int, frozen: Frozen) -> None:
        super().__init__(r2plus1d_18(), feature_dim, frozen)
        self.register_buffer("mean", 255 * torch.tensor(CROP_MEAN)[:, None, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(CROP_STD)[:, None, None, None], persistent=False)

    def forward(self, frames_BLTHWC: Tensor) -> Tensor:
        """Features (B, L, D) of uint8 crops (B, L, T, H, W, 3)."""
        clips_NCTHW = frames_BLTHWC.flatten(0, 1).permute(0, 4, 1, 2, 3).to(self.mean.dtype)
        return self.pooled((clips_NCTHW - self.mean) / self.std).unflatten(0, frames_BLTHWC.shape[:2])


class ResidualAudio(Freezable):
    """ResNet-18 over the log-mel of every sub-clip as an image of mels x hops: (B, L, S, M) -> (B, L, D).

    Its weights are stored channels last, which is faster on a CPU; crops are channels last already. Exact: 1512.03385,
    with one input channel.

    Args:
        feature_dim: D.
        frozen: see Freezable.
    """

    def __init__(self, feature_dim: int, frozen: Frozen) -> None:
        body = resnet_18().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(body, feature_dim, frozen)

    def forward(self, mel_BLSM: Tensor) -> Tensor:
        """Features (B, L, D) of raw log-mel in dB (B, L, S, M)."""
        images_N1MS = normalise_mel(mel_BLSM).flatten(0, 1).mT[:, None]
        return self.pooled(images_N1MS).unflatten(0, mel_BLSM.shape[:2])
