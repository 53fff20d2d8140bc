"""The tiny backbones: crops to video features, spectrograms to audio features, small enough for a CPU.

Shape letters as in `iaca_model.config`; N counts images, C channels. Both process each step on its own, so that a
missing step can be masked after them. Normalisation is GroupNorm, because batches are small and spread over ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.backbones.normalisation import CROP_MEAN, CROP_STD, normalise_mel
from iaca_model.config import InputSpec


def _conv_block(num_in: int, num_out: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(max(1, num_out // 8), num_out), nn.ReLU(inplace=True))


def _conv_size(size: int, stride: int) -> int:
    return (size - 1) // stride + 1  # after a convolution padded by half its odd kernel


class TinyVideo(nn.Module):
    """A 2-D network over every crop, pooled over the crops of a sub-clip: (B, L, T, H, W, 3) -> (B, L, D).

    One linear layer reads the last 7 x 7 map without pooling it, because it matters where the corners of the mouth
    are. Over time it pools the mean, the last crop (the labelled one) and the mean absolute difference between
    neighbours, which is motion. Ours.

    Args:
        spec: has the size of a crop.
        feature_dim: D.
    """

    mean: Tensor  # (3, 1, 1) of raw pixel values
    std: Tensor

    def __init__(self, spec: InputSpec, feature_dim: int) -> None:
        super().__init__()
        self.stem = _conv_block(3, 16, kernel=7, stride=4)
        self.body = nn.Sequential(_conv_block(16, 32, 3, 2), _conv_block(32, 48, 3, 2), nn.Conv2d(48, 16, 1))
        map_size = _conv_size(_conv_size(_conv_size(spec.crop_px, 4), 2), 2)
        self.read = nn.Linear(16 * map_size**2, feature_dim)
        self.pool = nn.Sequential(nn.LayerNorm(3 * feature_dim), nn.Linear(3 * feature_dim, feature_dim))
        self.register_buffer("mean", 255 * torch.tensor(CROP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(CROP_STD)[:, None, None], persistent=False)

    def forward(self, frames_BLTHWC: Tensor) -> Tensor:
        """Features (B, L, D) of uint8 crops (B, L, T, H, W, 3)."""
        images_NCHW = frames_BLTHWC.flatten(0, 2).permute(0, 3, 1, 2).to(self.mean.dtype)
        maps_NCHW = self.body(self.stem((images_NCHW - self.mean) / self.std))
        crops_BLTD = torch.relu(self.read(maps_NCHW.flatten(1))).unflatten(0, frames_BLTHWC.shape[:3])
        motion_BLD = _motion(crops_BLTD)
        return self.pool(torch.cat([crops_BLTD.mean(2), crops_BLTD[:, :, -1], motion_BLD], dim=-1))


def _motion(crops_BLTD: Tensor) -> Tensor:
    if crops_BLTD.shape[2] == 1:
        return torch.zeros_like(crops_BLTD[:, :, 0])
    return crops_BLTD.diff(dim=2).abs().mean(2)


class TinyAudio(nn.Module):
    """A 2-D network over hops x mels, beside the statistics of each mel band: (B, L, S, M) -> (B, L, D).

    The network pools over time only and keeps the mel axis, which carries pitch. Its normalisation removes how loud
    the voice is, so the mean and deviation of each band over time go around it. Ours.

    Args:
        spec: has the number of mel bands.
        feature_dim: D.
    """

    def __init__(self, spec: InputSpec, feature_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv_block(1, 16, 5, (4, 2)), _conv_block(16, 32, 3, 2), _conv_block(32, 32, 3, 2))
        num_bands = _conv_size(_conv_size(_conv_size(spec.num_mels, 2), 2), 2)
        num_in = 2 * 32 * num_bands + 2 * spec.num_mels
        self.read = nn.Sequential(nn.Linear(num_in, feature_dim), nn.ReLU(), nn.Linear(feature_dim, feature_dim))

    def forward(self, mel_BLSM: Tensor) -> Tensor:
        """Features (B, L, D) of raw log-mel in dB (B, L, S, M)."""
        mel_NSM = normalise_mel(mel_BLSM).flatten(0, 1)
        maps_NCSM = self.body(mel_NSM[:, None])
        pooled_maps = [maps_NCSM.mean(2).flatten(1), maps_NCSM.amax(2).flatten(1)]
        band_statistics = [mel_NSM.mean(1), mel_NSM.std(1, correction=0)]
        return self.read(torch.cat(pooled_maps + band_statistics, dim=-1)).unflatten(0, mel_BLSM.shape[:2])
