"""What the weights of a model's gates are called: the options of each gate, and which gates are shown first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

# own: self-attended (iaca) or unattended (dca); the options of other gates are numbered.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "reliability": ("video", "audio"),
    "modality": ("video", "audio"),
    "video": ("own", "cross"),
    "audio": ("own", "cross"),
}
_SHOWN_FIRST = ("reliability", "modality")  # in the order in which the model decides: before and after attention


def option_names(gates: Mapping[str, Tensor], gate: str) -> tuple[str, ...]:
    """The names of one gate's options.

    Args:
        gates: weights (B, L, options) of all gates of a prediction, by name.
        gate: which of them.
    """
    num_options = gates[gate].shape[-1]
    known = () if f"{gate}_first" in gates else OPTIONS.get(gate, ())
    return known if len(known) == num_options else tuple(str(i) for i in range(num_options))


def in_shown_order(gates: Iterable[str]) -> list[str]:
    """The gates' names: the verdicts on whole modalities first, that of the front before the modality gate's."""
    return sorted(gates, key=lambda gate: _SHOWN_FIRST.index(gate) if gate in _SHOWN_FIRST else len(_SHOWN_FIRST))
