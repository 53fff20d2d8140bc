"""The temporal block: a bidirectional LSTM around which the released models are built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iaca_model.attention import hide, linear


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
            own_BLD = hide(features_BLD.float(), ok_BL)
            states = self.init_hidden[:, None].expand(-1, len(own_BLD), -1).contiguous()
            context_BLD, _ = self.rnn(own_BLD, states.chunk(2))
            joined = self.dropout(torch.cat([own_BLD, context_BLD], dim=-1))
            return hide(nn.functional.normalize(self.linear(joined), dim=-1), ok_BL)
