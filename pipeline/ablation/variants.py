"""The variants that are compared: every base with every gate and with the front, and IACA's own variations."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, get_args

from iaca_model.config import LITERAL_GATE, LITERAL_TAGF, Base, FusionConfig, Gate, check_pair
from pipeline.config import UsageError
from pipeline.config.job_sections import AblateConfig

RELEASED_GATES: dict[str, dict[str, Any]] = {
    "dca": LITERAL_GATE,
    "grjca": LITERAL_GATE,
    "hgrjca": LITERAL_GATE,
    "tagf": LITERAL_TAGF,
}
"""Gates of other papers, and the settings of their released form; every other gate has FusionConfig's defaults."""
NUM_RECURSIONS = 2  # of every variant, so that a gate is compared with its base at the same depth

EXTRAS: dict[str, dict[str, Any]] = {
    "faithful": {"fusion": LITERAL_GATE},
    "frozen": {"fusion": {"gate_trainable": False}},
    "sharp": {"fusion": {"temperature": 0.1}},
    "soft": {"fusion": {"temperature": 1.0}},
    "agreement": {"fusion": {"modality_input": "agreement"}},
    "augmented": {"augment": 0.5},
    "supervised": {"augment": 0.5, "gate_supervision": 0.3},
    "agreement_supervised": {"augment": 0.5, "gate_supervision": 0.3, "fusion": {"modality_input": "agreement"}},
}
"""Variations of IACA: the papers' literal form; the control whose gates stay at one half; both temperatures of the
gates; a modality gate that reads how the modalities agree; more corruption in training, alone and with a loss that
supervises the modality gate."""

FRONTS: dict[str, dict[str, Any]] = {
    "front": {"fusion": {"front": "reliability"}},
    "front+iaca": {"gate": "iaca", "fusion": {"front": "reliability"}},
    "control": {"fusion": {"front": "reliability", "front_output": "appended"}},
    "oracle": {"oracle": True},
}
"""Rows about the front: alone, with IACA behind it, the control that has all of it but its verdict, and the base that
knows which steps are corrupted, and zeroes them. That is a reference and no upper bound: it loses the signal that noisy
steps keep, and what else a front adds to the base may gain more than knowing the corruption."""


@dataclass(frozen=True)
class Variant:
    """A base with a gate, and how it is trained: one row of the table."""

    name: str
    base: str
    gate: str = "none"
    fusion: dict[str, Any] = field(default_factory=dict)  # changes to FusionConfig's defaults
    oracle: bool = False  # whether corrupted features are zeroed before attention, as perfect reliabilities would
    augment: float = 0.0  # chance per sequence and modality that training corrupts another span
    gate_supervision: float = 0.0  # weight of `iaca_model.loss.supervised_gate_loss`

    @property
    def reference(self) -> str:
        """Name of the variant that it is compared with: its base without a gate."""
        return variant_name(self.base, "none")

    @property
    def oracle_reference(self) -> str:
        """Name of the same base that knows what is corrupted; of its gain every other gain is a share."""
        return variant_name(self.base, "oracle")

    @property
    def default_iaca(self) -> str:
        """Name of IACA with its defaults on the same base, for its variations and the front; "" for the others."""
        is_compared = ":" in self.name or self.fusion.get("front") == "reliability"
        return variant_name(self.base, "iaca") if is_compared else ""

    def fusion_config(self, sizes: FusionConfig) -> FusionConfig:
        """Configure the fusion with this base and gate, and everything else as in `sizes`."""
        changes: dict[str, Any] = {"base": self.base, "gate": self.gate, "num_recursions": NUM_RECURSIONS}
        return dataclasses.replace(sizes, **(changes | self.fusion))


def variant_name(base: str, gate: str, extra: str = "") -> str:
    """Name a variant: `jca`, `jca+iaca`, `jca+iaca:frozen`, `jca+front`."""
    return base + (f"+{gate}" if gate != "none" else "") + (f":{extra}" if extra else "")


def list_variants(settings: AblateConfig) -> list[Variant]:
    """List the variants that the settings name, bases in their order, each after its reference.

    Raises:
        UsageError: a name is unknown; the message lists those allowed.
    """
    bases = _parse_names(settings.bases, "bases", get_args(Base))
    gates = _parse_names(settings.gates, "gates", get_args(Gate))
    fronts = _parse_names(settings.fronts, "fronts", tuple(FRONTS))
    extras = _parse_names(settings.extras, "extras", tuple(EXTRAS))
    extra_bases = _parse_names(settings.extra_bases, "extra_bases", get_args(Base)[1:])
    variants = []
    for base in bases:
        variants += _with_gates(base, gates) + _with_fronts(base, fronts)
        if base in extra_bases:
            variations = [Variant(variant_name(base, "iaca", name), base, "iaca", **EXTRAS[name]) for name in extras]
            variants += [variation for variation in variations if not _is_default(variation)]
    return variants


def _with_gates(base: str, gates: tuple[str, ...]) -> list[Variant]:
    """List the base alone, always, and with each gate that it allows."""
    legal_gates = [gate for gate in gates if gate != "none" and _is_legal(base, gate)]
    gated = [Variant(variant_name(base, gate), base, gate, RELEASED_GATES.get(gate, {})) for gate in legal_gates]
    return [Variant(variant_name(base, "none"), base, "none"), *gated]


def _with_fronts(base: str, fronts: tuple[str, ...]) -> list[Variant]:
    """List the base with each of the rows about the front that it allows."""
    legal_rows = [row for row in fronts if _is_legal(base, FRONTS[row].get("gate", "none"))]
    return [Variant(variant_name(base, row), base, **FRONTS[row]) for row in legal_rows]


def _is_default(variant: Variant) -> bool:
    """Whether a variation only sets what the default of its base is already, as `soft` does for ca."""
    default = FusionConfig(base=variant.base, gate=variant.gate)  # type: ignore[arg-type]
    same_temperature = default.gate_temperature == variant.fusion.get("temperature")
    return same_temperature and tuple(variant.fusion) == ("temperature",)


def _is_legal(base: str, gate: str) -> bool:
    try:
        check_pair(base, gate, NUM_RECURSIONS)
    except ValueError:
        return False
    return True


def _parse_names(text: str, option: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in allowed]:
        raise UsageError(f"ablate.{option} names {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    return names
