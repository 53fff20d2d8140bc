"""The variants that are compared: every base with every gate, and IACA's own variations."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from iaca_model.config import Base, FusionConfig, Gate, check_pair
from pipeline.config import UsageError
from pipeline.config.sections import AblateConfig

RELEASED: dict[str, Any] = {"gate_relu": True, "gate_init": "xavier", "temperature": 0.1}
NUM_RECURSIONS = 2  # of every variant, so that a gate is compared with its base at the same depth

EXTRAS: dict[str, dict[str, Any]] = {
    "faithful": {"fusion": RELEASED},
    "frozen": {"fusion": {"gate_trainable": False}},
    "sharp": {"fusion": {"temperature": 0.1}},
    "soft": {"fusion": {"temperature": 1.0}},
    "agreement": {"fusion": {"modality_input": "agreement"}},
    "augmented": {"augment": 0.5},
    "supervised": {"augment": 0.5, "gate_supervision": 0.3},
    "agreement_supervised": {"augment": 0.5, "gate_supervision": 0.3, "fusion": {"modality_input": "agreement"}},
}
"""IACA's variations: the papers' literal form; the control whose gates stay at one half; both temperatures of the
gates; a modality gate that sees how the modalities agree; more corruption in training, alone and with a loss that
teaches the modality gate where it is."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    base: str
    gate: str
    fusion: dict[str, Any] = field(default_factory=dict)  # changes to FusionConfig's defaults
    augment: float = 0.0  # chance per sequence and modality that training corrupts another span
    gate_supervision: float = 0.0  # weight of `iaca_model.loss.supervised_gate_loss`

    @property
    def reference(self) -> str:
        """The variant it is compared with: its base without a gate."""
        return name_of(self.base, "none")

    @property
    def rival(self) -> str:
        """For one of IACA's variations, IACA as it is by default; "" for the others."""
        return name_of(self.base, "iaca") if ":" in self.name else ""

    def fusion_config(self, plain: FusionConfig) -> FusionConfig:
        """This base and this gate at the sizes of `plain`."""
        own: dict[str, Any] = {"base": self.base, "gate": self.gate, "num_recursions": NUM_RECURSIONS}
        return dataclasses.replace(plain, **(own | self.fusion))


def name_of(base: str, gate: str, extra: str = "") -> str:
    """`jca`, `jca+iaca`, `jca+iaca:frozen`."""
    return base + (f"+{gate}" if gate != "none" else "") + (f":{extra}" if extra else "")


def variants(settings: AblateConfig) -> list[Variant]:
    """Every row that the settings ask for, bases in their order, each after its reference.

    Raises:
        UsageError: a name is unknown; the message lists what there is.
    """
    bases = _names(settings.bases, "bases", get_args(Base))
    gates = _names(settings.gates, "gates", get_args(Gate))
    extras = _names(settings.extras, "extras", tuple(EXTRAS))
    extra_bases = _names(settings.extra_bases, "extra_bases", get_args(Base)[1:])
    rows = []
    for base in bases:
        rows += list(_grid(base, gates))
        if base in extra_bases:
            own = [Variant(name_of(base, "iaca", extra), base, "iaca", **EXTRAS[extra]) for extra in extras]
            rows += [row for row in own if not _is_default(row)]
    return rows


def _grid(base: str, gates: tuple[str, ...]) -> Iterator[Variant]:
    """The base alone, always, and with each gate that it allows; gates other than IACA's as released."""
    yield Variant(name_of(base, "none"), base, "none")
    for gate in gates:
        if gate != "none" and legal(base, gate):
            yield Variant(name_of(base, gate), base, gate, {} if gate == "iaca" else RELEASED)


def _is_default(row: Variant) -> bool:
    """Whether an extra says what the base's default is already, as `soft` does of ca."""
    plain = FusionConfig(base=row.base, gate=row.gate)  # type: ignore[arg-type]
    same = plain.gate_temperature == row.fusion.get("temperature")
    return same and tuple(row.fusion) == ("temperature",)


def legal(base: str, gate: str) -> bool:
    """Whether this base and this gate go together."""
    try:
        check_pair(base, gate, NUM_RECURSIONS)
    except ValueError:
        return False
    return True


def _names(text: str, option: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in allowed]:
        raise UsageError(f"ablate.{option} names {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    return names
