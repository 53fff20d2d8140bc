"""Face crops to video features, log-mel spectrograms to audio features, small enough for a CPU.

Shape letters as in `iaca_model.config`; N counts pictures, C channels. Both backbones see each step alone, so that a
missing step can be hidden after them. GroupNorm everywhere: batches are tiny and spread over ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.config import InputSpec

# The video convention of the Kinetics networks (r3d, r(2+1)d), RGB in [0, 1].
CROP_MEAN = (0.43216, 0.394666, 0.37645)
CROP_STD = (0.22803, 0.22145, 0.216989)
TOP_DB = 80.0
MEL_SHIFT_DB = 14.8
MEL_SCALE_DB = 19.895


def normalise_mel(mel_BLSM: Tensor) -> Tensor:
    """Clip each sub-clip at 80 dB below its own maximum, then map x dB to (x + 14.8) / 19.895, as the papers' code."""
    floor_BL11 = mel_BLSM.amax(dim=(-2, -1), keepdim=True) - TOP_DB
    return (mel_BLSM.maximum(floor_BL11) + MEL_SHIFT_DB) / MEL_SCALE_DB


def _block(num_in: int, num_out: int, kernel: int, stride: int | tuple[int, int]) -> nn.Sequential:
    conv = nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(max(1, num_out // 8), num_out), nn.ReLU(inplace=True))


class TinyVideo(nn.Module):
    """One 2-D network over every crop, then the crops of a sub-clip pooled over time.

    The last map keeps its 7 x 7 places (where the mouth corners are matters), read by one linear layer. Over time:
    the mean, the last crop (the labelled one) and the mean absolute difference between neighbours, which is motion.
    """

    mean: Tensor  # (3, 1, 1) of raw pixel values
    std: Tensor

    def __init__(self, spec: InputSpec, feature_dim: int) -> None:
        super().__init__()
        self.stem = _block(3, 16, kernel=7, stride=4)
        self.body = nn.Sequential(_block(16, 32, 3, 2), _block(32, 48, 3, 2), nn.Conv2d(48, 16, 1))
        places = _halved(_halved(_divided(spec.crop_px, 4)))
        self.read = nn.Linear(16 * places**2, feature_dim)
        self.pool = nn.Sequential(nn.LayerNorm(3 * feature_dim), nn.Linear(3 * feature_dim, feature_dim))
        self.register_buffer("mean", 255 * torch.tensor(CROP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(CROP_STD)[:, None, None], persistent=False)

    def forward(self, frames_BLTHWC: Tensor) -> Tensor:
        """Features (B, L, D) of uint8 crops (B, L, T, H, W, 3)."""
        pictures_NCHW = frames_BLTHWC.flatten(0, 2).permute(0, 3, 1, 2).to(self.mean.dtype)
        maps_NCHW = self.body(self.stem((pictures_NCHW - self.mean) / self.std))
        crops_BLTD = torch.relu(self.read(maps_NCHW.flatten(1))).unflatten(0, frames_BLTHWC.shape[:3])
        motion_BLD = _motion(crops_BLTD)
        return self.pool(torch.cat([crops_BLTD.mean(2), crops_BLTD[:, :, -1], motion_BLD], dim=-1))


def _motion(crops_BLTD: Tensor) -> Tensor:
    if crops_BLTD.shape[2] == 1:
        return torch.zeros_like(crops_BLTD[:, :, 0])
    return crops_BLTD.diff(dim=2).abs().mean(2)


class TinyAudio(nn.Module):
    """A 2-D network over hops x mels that keeps the mel axis, for pitch, beside plain statistics of each band.

    Normalisation inside the network would hide how loud the voice is; the mean and deviation of each band over time
    go around it.
    """

    def __init__(self, spec: InputSpec, feature_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(1, 16, 5, (4, 2)), _block(16, 32, 3, 2), _block(32, 32, 3, 2))
        bands = _halved(_halved(_divided(spec.num_mels, 2)))
        num_read = 2 * 32 * bands + 2 * spec.num_mels
        self.read = nn.Sequential(nn.Linear(num_read, feature_dim), nn.ReLU(), nn.Linear(feature_dim, feature_dim))

    def forward(self, mel_BLSM: Tensor) -> Tensor:
        """Features (B, L, D) of raw log-mel in dB (B, L, S, M)."""
        mel_NSM = normalise_mel(mel_BLSM).flatten(0, 1)
        maps_NCSM = self.body(mel_NSM[:, None])
        pooled = [maps_NCSM.mean(2).flatten(1), maps_NCSM.amax(2).flatten(1)]
        bands = [mel_NSM.mean(1), mel_NSM.std(1, correction=0)]
        return self.read(torch.cat(pooled + bands, dim=-1)).unflatten(0, mel_BLSM.shape[:2])


def _divided(size: int, stride: int) -> int:
    return (size - 1) // stride + 1  # of a convolution padded by half its odd kernel


def _halved(size: int) -> int:
    return _divided(size, 2)
