"""The temporal blocks: the bidirectional LSTM of the released models, or a temporal convolutional network.

Shape letters: B batch, L steps, D input width, O output width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.config import Temporal
from iaca_model.layers import at_least_float32, linear, mask, mask_finite


class BLSTM(nn.Module):
    """A bidirectional LSTM with learned initial states and a connection around it: (B, L, D) -> (B, L, O).

    Y = Linear_{D+O->O}(Dropout([X ; LSTM(X)])) / norm, of unit length at each step. Steps whose mask is False are
    zeroed before and after. Float32 even under autocast: the recurrence adds up rounding.

    Exact: code of 2304.07958.

    Args:
        input_dim: D.
        output_dim: O, even: half of it for each direction.
        num_layers: of the LSTM.
        dropout: of [X ; LSTM(X)].
    """

    def __init__(self, input_dim: int, output_dim: int, num_layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_dim, output_dim // 2, num_layers, batch_first=True, bidirectional=True)
        self.init_hidden = nn.Parameter(torch.zeros(4 * num_layers, output_dim // 2))  # first half h0, second c0
        self.linear = linear(input_dim + output_dim, output_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BLD: Tensor, ok_BL: Tensor) -> Tensor:
        """Features (B, L, O) of unit length, zero where the bool mask (B, L) is False."""
        with torch.autocast(features_BLD.device.type, enabled=False):
            features_BLD = mask(at_least_float32(features_BLD), ok_BL)
            states = self.init_hidden[:, None].expand(-1, len(features_BLD), -1).contiguous()
            context_BLO, _ = self.rnn(features_BLD, states.chunk(2))
            joined = self.dropout(torch.cat([features_BLD, context_BLO], dim=-1))
            return mask_finite(nn.functional.normalize(self.linear(joined), dim=-1), ok_BL)


class TCN(nn.Module):
    """Residual dilated convolutions over time: (B, L, D) -> (B, L, O).

    X = X + Dropout(ReLU(LayerNorm(Conv(X)))) with kernel 3 and dilation 1, 2, 4: each step reads 7 before and 7 after
    it. The convolutions are centred, not causal, because the whole sequence is known. Masked steps are zeroed before
    and after every convolution.

    Ours, after 1803.01271: the TCN variants of the papers are not public.

    Args:
        input_dim: D.
        output_dim: O.
        dropout: of each convolution's result.
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
        """Features (B, L, O), zero where the bool mask (B, L) is False."""
        features_BLO = mask_finite(self.widen(mask(features_BLD, ok_BL)), ok_BL)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            convolved_BLO = norm(convolution(features_BLO.mT).mT)
            features_BLO = mask_finite(features_BLO + self.dropout(torch.relu(convolved_BLO)), ok_BL)
        return features_BLO


def temporal_block(kind: Temporal, input_dim: int, output_dim: int, dropout: float) -> BLSTM | TCN:
    """Build the temporal block of this kind, which must not be none."""
    return {"blstm": BLSTM, "tcn": TCN}[kind](input_dim, output_dim, dropout=dropout)
