"""Fusion of video and audio features by a front, one attention base and one gate.

Shape letters: B batch, L steps, D feature width (D_v video, D_a audio), F fused width, N options of a gate.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from iaca_model.attention import Attended, Pair, cross_layer
from iaca_model.config import FusionConfig
from iaca_model.front import HIDDEN_DIM, Comparison, ReliabilityFront
from iaca_model.gates import build_gate
from iaca_model.layers import at_least_float32, mask, mask_finite


class FusionOutput(NamedTuple):
    """Fused features, and the weights and attention maps that explain them; R recursions, F = `Fusion.output_dim`.

    `gates` holds weights by name, float32, each row of which sums to 1; it is empty without a front and a gate. With
    the front there is `reliability`, (B, L, 2), its weights of video and audio; beside it:

        gate    name                          shape          weight of
        dca     video, audio                  (B, L, 2)      unattended, cross-attended features
        iaca    video, audio                  (B, L, 2)      self-attended, cross-attended features
                modality                      (B, L, 2)      video, audio
        grjca   video, audio                  (B, L, R + 1)  X^0 ... X^R
        hgrjca  video, audio                  (B, L, 2)      the results of the first level's two gates
                video_first, audio_first      (B, L, 2)      X^0, X^1
                video_second, audio_second    (B, L, 3)      X^0, X^1, X^2
        tagf    video, audio                  (B, L, R + 1)  X^0 ... X^R

    `attention` holds the last layer's maps over time, `video` and `audio`, (B, L, L) without gradient, row = the step
    attended for, column = the step attended to; `attention.Attended` defines them for each base. Empty for concat.
    """

    fused_BLF: Tensor  # zero where valid_BL is False
    valid_BL: Tensor  # bool: at least one modality was there
    gates: dict[str, Tensor]
    attention: dict[str, Tensor]


class Fusion(nn.Module):
    """Fusion of two modalities: the front, `config.depth` layers of the base, each on the last one's output, the gate.

    (B, L, D_v), (B, L, D_a) -> (B, L, F). To all behind it, what the front scaled is X^0. Recursion as in RJCA
    (2304.07958): each layer has its own weights and computes the joint representation anew. Exact, Reconstructed or
    Ours by front, base and gate: see `iaca_model.front`, `iaca_model.attention` and `iaca_model.gates`.

    Masked steps are zeroed before every layer and after the last: their content reaches no output and gets no
    gradient, and a missing modality's share of `fused_BLF` is zero.

    Float32 even under autocast: scores, softmax and gates amplify rounding, the gates tenfold at T = 0.1.

    Args:
        config: front, base, gate and sizes.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.video_dim, config.audio_dim)
        has_front = config.front == "reliability"
        self.front = ReliabilityFront(*sizes) if has_front and config.front_output == "scaled" else None
        self.control = Comparison(*sizes) if has_front and config.front_output == "appended" else None
        self.layers = nn.ModuleList(cross_layer(config) for _ in range(config.depth))
        self.gate = build_gate(config)
        self.output_dim = self.gate.output_dim + (HIDDEN_DIM if self.control else 0)

    def forward(
        self,
        video_BLD: Tensor,
        audio_BLD: Tensor,
        video_ok_BL: Tensor | None = None,
        audio_ok_BL: Tensor | None = None,
    ) -> FusionOutput:
        """Fuse the features of both modalities.

        Args:
            video_BLD: (B, L, D_v).
            audio_BLD: (B, L, D_a).
            video_ok_BL: bool (B, L), True where the modality is present; None: everywhere.
            audio_ok_BL: likewise.

        Fewer than `num_steps` steps are padded on the right as missing, and the padding is cut off again.

        Raises:
            ValueError: shapes that do not fit the configuration or each other.
        """
        self._check_shapes(video_BLD, audio_BLD)
        video_ok_BL = _checked_mask(video_BLD, video_ok_BL, "video_ok_BL")
        audio_ok_BL = _checked_mask(audio_BLD, audio_ok_BL, "audio_ok_BL")
        num_missing = self.config.num_steps - video_BLD.shape[1]
        video_BLD = mask(at_least_float32(video_BLD), video_ok_BL)
        audio_BLD = mask(at_least_float32(audio_BLD), audio_ok_BL)
        pair = Pair(video_BLD, audio_BLD, video_ok_BL, audio_ok_BL)
        with torch.autocast(video_BLD.device.type, enabled=False):
            output = self._fuse(_pad(pair, num_missing) if num_missing else pair)
        return _cut(output, video_BLD.shape[1]) if num_missing else output

    def _fuse(self, pair: Pair) -> FusionOutput:
        valid_BL = pair.video_ok_BL | pair.audio_ok_BL
        first, verdict = self.front(pair) if self.front else (pair, {})
        iterates, attention = [first], {}
        for layer in self.layers:
            attended: Attended = layer(iterates[-1])
            iterates.append(pair.masked(attended.video_BLD, attended.audio_BLD))
            attention = {"video": attended.video_map_BLL, "audio": attended.audio_map_BLL}
        fused_BLF, gates = self.gate(iterates)
        if self.control:
            fused_BLF = torch.cat([fused_BLF, mask_finite(self.control(pair), valid_BL)], dim=-1)
        return FusionOutput(fused_BLF, valid_BL, verdict | gates, attention)

    def _check_shapes(self, video_BLD: Tensor, audio_BLD: Tensor) -> None:
        shapes = f"video has shape {tuple(video_BLD.shape)}, audio {tuple(audio_BLD.shape)}"
        dims, num_steps = (self.config.video_dim, self.config.audio_dim), self.config.num_steps
        if video_BLD.ndim != 3 or audio_BLD.ndim != 3 or (video_BLD.shape[-1], audio_BLD.shape[-1]) != dims:
            raise ValueError(f"{shapes}; needed are (batch, steps, {dims[0]}) and (batch, steps, {dims[1]})")
        if video_BLD.shape[:2] != audio_BLD.shape[:2]:
            raise ValueError(f"{shapes}; they must agree in batch and steps")
        if video_BLD.shape[1] > num_steps:
            raise ValueError(f"{shapes}, more than num_steps {num_steps}: cut the sequences or configure longer ones")


def _checked_mask(features_BLD: Tensor, ok_BL: Tensor | None, name: str) -> Tensor:
    shape = features_BLD.shape[:2]
    if ok_BL is None:
        return torch.ones(shape, dtype=torch.bool, device=features_BLD.device)
    if ok_BL.shape != shape or ok_BL.dtype != torch.bool:
        raise ValueError(f"{name} is {ok_BL.dtype} of {tuple(ok_BL.shape)}; it must be torch.bool of {tuple(shape)}")
    return ok_BL


def _pad(pair: Pair, num_missing: int) -> Pair:
    pad = nn.functional.pad
    features = (pad(tensor, (0, 0, 0, num_missing)) for tensor in (pair.video_BLD, pair.audio_BLD))
    masks = (pad(tensor, (0, num_missing)) for tensor in (pair.video_ok_BL, pair.audio_ok_BL))
    return Pair(*features, *masks)


def _cut(output: FusionOutput, num_steps: int) -> FusionOutput:
    gates = {name: weights_BLN[:, :num_steps] for name, weights_BLN in output.gates.items()}
    attention = {name: map_BLL[:, :num_steps, :num_steps] for name, map_BLL in output.attention.items()}
    return FusionOutput(output.fused_BLF[:, :num_steps], output.valid_BL[:, :num_steps], gates, attention)
