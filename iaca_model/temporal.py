"""The temporal blocks: the bidirectional LSTM of the released models, or a temporal convolutional network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.config import Temporal
from iaca_model.layers import at_least_float32, linear, mask, mask_finite


class BLSTM(nn.Module):
    """A bidirectional LSTM with learned initial states beside its own input (code of 2304.07958). Exact.

    concat(input, output) -> dropout -> Linear(in + out -> out) -> L2-normalise. Steps whose mask is False are zeroed
    on the way in and on the way out. Float32 even under autocast: the recurrence adds up rounding.
    """

    def __init__(self, input_dim: int, output_dim: int, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_dim, output_dim // 2, num_layers, batch_first=True, bidirectional=True)
        self.init_hidden = nn.Parameter(torch.zeros(4 * num_layers, output_dim // 2))  # first half h0, second c0
        self.linear = linear(input_dim + output_dim, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """(B, L, in) and a bool mask (B, L) -> (B, L, out) of unit length, zero where the mask is False."""
        with torch.autocast(features_BLD.device.type, enabled=False):
            own_BLD = mask(at_least_float32(features_BLD), ok_BL)
            states = self.init_hidden[:, None].expand(-1, len(own_BLD), -1).contiguous()
            context_BLD, _ = self.rnn(own_BLD, states.chunk(2))
            joined = self.dropout(torch.cat([own_BLD, context_BLD], dim=-1))
            return mask_finite(nn.functional.normalize(self.linear(joined), dim=-1), ok_BL)


class TCN(nn.Module):
    """Residual dilated convolutions over time (1803.01271), centred: the whole sequence is there at once.

    x + Dropout(ReLU(LayerNorm(conv(x)))) with dilation 1, 2, 4: a step sees 14 others. Masked steps are zeroed before
    and after every convolution. Ours in detail: the papers' TCN variants are not public.
    """

    def __init__(self, input_dim: int, output_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.widen = nn.Identity() if input_dim == output_dim else linear(input_dim, output_dim)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(output_dim, output_dim, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 4)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(output_dim) for _ in self.convolutions)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """(B, L, in) and a bool mask (B, L) -> (B, L, out), zero where the mask is False."""
        own_BLD = mask_finite(self.widen(mask(features_BLD, ok_BL)), ok_BL)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            seen_BLD = norm(convolution(own_BLD.mT).mT)
            own_BLD = mask_finite(own_BLD + self.dropout(torch.relu(seen_BLD)), ok_BL)
        return own_BLD


def temporal_block(kind: Temporal, input_dim: int, output_dim: int, dropout: float) -> BLSTM | TCN:
    """The block of that name, other than none."""
    return {"blstm": BLSTM, "tcn": TCN}[kind](input_dim, output_dim, dropout=dropout)
