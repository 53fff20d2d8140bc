"""The table of an ablation: means, deviations and paired differences over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from iaca_model.corruption import KINDS
from iaca_model.detection import VERDICTS
from pipeline.ablation.variants import Variant

TrialResult = dict[str, Any]  # as JSON holds it, see `trial.run_trial`


@dataclass(frozen=True)
class SeedStatistics:
    """Mean over seeds; `deviation` is that of one seed, `error` that of the mean (both None of a single seed)."""

    mean: float
    deviation: float | None
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> SeedStatistics:
        """Compute the statistics of one value per seed; the deviation is that of a sample, with n - 1."""
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None, None)
        deviation = statistics.stdev(values)
        return cls(mean, deviation, deviation / len(values) ** 0.5)


@dataclass(frozen=True)
class Detection:
    """How well one verdict detects the corrupted modality, over all seeds, see `iaca_model.detection`."""

    auroc: dict[str, SeedStatistics]  # by kind of corruption and `all`, without those that no seed defines
    gap: SeedStatistics | None


@dataclass(frozen=True)
class Row:
    """One variant over all seeds; a gain is the difference to `reference`, paired by seed."""

    variant: str
    reference: str
    num_seeds: int
    num_parameters: int
    corrupted: SeedStatistics  # mean CCC of valence and arousal
    clean: SeedStatistics
    gain_corrupted: SeedStatistics | None  # None of the reference itself
    gain_clean: SeedStatistics | None
    share_of_oracle: float | None  # the gain on corrupted data over that of the same base's oracle; None: that is noise
    over_iaca: SeedStatistics | None  # on corrupted data; None unless it varies IACA's default or has the front
    over_iaca_clean: SeedStatistics | None
    detection: dict[str, Detection]  # by the gate that gives the verdict; empty without one


def make_rows(variants: Iterable[Variant], results: Sequence[TrialResult]) -> list[Row]:
    """Make a row for each variant, in their order, of its results on all seeds."""
    by_name: dict[str, dict[int, TrialResult]] = {}
    for result in results:
        by_name.setdefault(result["variant"], {})[result["seed"]] = result
    return [_make_row(variant, by_name) for variant in variants]


def _make_row(variant: Variant, by_name: dict[str, dict[int, TrialResult]]) -> Row:
    by_seed, default_iaca = by_name[variant.name], by_name.get(variant.default_iaca)
    reference = by_name[variant.reference] if variant.name != variant.reference else None
    gain, oracle = _gain(by_seed, reference, "corrupted"), by_name.get(variant.oracle_reference)
    return Row(
        variant=variant.name,
        reference=variant.reference,
        num_seeds=len(by_seed),
        num_parameters=next(iter(by_seed.values()))["num_parameters"],
        corrupted=SeedStatistics.of([_ccc(result, "corrupted") for result in by_seed.values()]),
        clean=SeedStatistics.of([_ccc(result, "clean") for result in by_seed.values()]),
        gain_corrupted=gain,
        gain_clean=_gain(by_seed, reference, "clean"),
        share_of_oracle=_share(gain, _gain(oracle, reference, "corrupted") if oracle else None),
        over_iaca=_gain(by_seed, default_iaca, "corrupted"),
        over_iaca_clean=_gain(by_seed, default_iaca, "clean"),
        detection={name: _detection(by_seed, name) for name in VERDICTS if _has_verdict(by_seed, name)},
    )


def _ccc(result: TrialResult, data: str) -> float:
    return result["ccc"][data]["mean"]


def _gain(
    by_seed: dict[int, TrialResult], reference: dict[int, TrialResult] | None, data: str
) -> SeedStatistics | None:
    if reference is None:
        return None
    return SeedStatistics.of([_ccc(result, data) - _ccc(reference[seed], data) for seed, result in by_seed.items()])


def _share(gain: SeedStatistics | None, of_oracle: SeedStatistics | None) -> float | None:
    """A mean gain as a share of that of the oracle; None unless the oracle gains more than twice its standard error."""
    if gain is None or of_oracle is None or of_oracle.error is None or of_oracle.mean <= 2 * of_oracle.error:
        return None
    return gain.mean / of_oracle.mean


def _has_verdict(by_seed: dict[int, TrialResult], gate: str) -> bool:
    return all(gate in result["detection"] for result in by_seed.values())


def _detection(by_seed: dict[int, TrialResult], gate: str) -> Detection:
    """Statistics of each measure of detection over the seeds on which it is defined."""
    of_seeds = [result["detection"][gate] for result in by_seed.values()]
    defined = {
        name: [values[name] for values in of_seeds if values[name] is not None] for name in (*KINDS, "all", "gap")
    }
    found = {name: SeedStatistics.of(values) for name, values in defined.items() if values}
    gap = found.pop("gap", None)
    return Detection(found, gap)


HEADINGS = ("variant", "parameters", "corrupted", "gain", "of oracle", "over IACA", "clean", "gain", "over IACA")


def format_row(row: Row) -> tuple[str, ...]:
    """Format a row under HEADINGS: means ± deviation, gains ± their standard error."""
    share = "" if row.share_of_oracle is None else f"{row.share_of_oracle:.0%}"
    corrupted = (_format_mean(row.corrupted), _format_gain(row.gain_corrupted), share, _format_gain(row.over_iaca))
    clean = (_format_mean(row.clean), _format_gain(row.gain_clean), _format_gain(row.over_iaca_clean))
    return (row.variant, f"{row.num_parameters:,}", *corrupted, *clean)


DETECTION_HEADINGS = ("verdict", *(f"AUROC {kind}" for kind in (*KINDS, "all")), "gap")


def detection_lines(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Format every verdict under DETECTION_HEADINGS: of a front, and of stage 2 of IACA, where a variant has both."""
    return [
        (
            f"{row.variant}, {gate}",
            *(_format_detection(found.auroc.get(kind)) for kind in (*KINDS, "all")),
            _format_detection(found.gap),
        )
        for row in rows
        for gate, found in row.detection.items()
    ]


def markdown(headings: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Write a table in Markdown, with its first column aligned to the left and the others to the right."""
    alignment = ("---", *("--:" for _ in headings[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, alignment, *lines)) + "\n"


SHARES = (10, 20, 30, 50, 70, 90)  # of the steps without sound, as published
DIMENSION_HEADINGS = ("CCC, valence / arousal", "clean", *(f"{share} % without sound" for share in SHARES))


def dimension_lines(results: Sequence[TrialResult], curves: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Format valence and arousal of each variant under DIMENSION_HEADINGS, means over seeds.

    On clean data, and where random steps have lost their sound and no mask marks them.
    """
    random_points = [point for point in curves if (point["pattern"], point["mask"]) == ("random", "unknown")]
    points = {(point["variant"], point["percent"]): point for point in random_points}
    lines = []
    for name in dict.fromkeys(result["variant"] for result in results):
        clean = [result["ccc"]["clean"] for result in results if result["variant"] == name]
        means = {dimension: statistics.fmean(ccc[dimension] for ccc in clean) for dimension in ("valence", "arousal")}
        shares = (points.get((name, share)) for share in SHARES)
        lines.append((name, _format_both(means), *(_format_both(point) if point else "" for point in shares)))
    return lines


def _format_both(ccc: dict[str, Any]) -> str:
    return f"{ccc['valence']:.3f} / {ccc['arousal']:.3f}"


def _format_mean(value: SeedStatistics) -> str:
    return f"{value.mean:.3f}" + ("" if value.deviation is None else f" ± {value.deviation:.3f}")


def _format_gain(value: SeedStatistics | None) -> str:
    if value is None:
        return ""
    return f"{value.mean:+.3f}" + ("" if value.error is None else f" ± {value.error:.3f}")


def _format_detection(value: SeedStatistics | None) -> str:
    return "" if value is None else f"{value.mean:.2f}"


def trials_csv(results: Sequence[TrialResult]) -> bytes:
    """Write a line for each trial: what was measured, without the curve."""
    lines = [
        {
            **{name: result[name] for name in ("variant", "base", "gate", "seed", "num_parameters", "cpu_s")},
            **{f"{data}_{name}": value for data, scores in result["ccc"].items() for name, value in scores.items()},
            **{
                f"{gate}_{name if name == 'gap' else f'auroc_{name}'}": value
                for gate, found in result["detection"].items()
                for name, value in found.items()
            },
        }
        for result in results
    ]
    return to_csv(lines)


def to_csv(lines: Sequence[dict[str, Any]]) -> bytes:
    """Write the lines as CSV; the columns are all their keys, in the order in which they occur."""
    columns = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def mean_curves(results: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """Average the missing-sound curves over seeds.

    Returns:
        a row for each variant, pattern, mask and percentage, in the order in which the trials measured them.
    """
    points: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for result in results:
        for point in result["curve"]:
            key = (result["variant"], point["pattern"], point["mask"], point["percent"])
            points.setdefault(key, []).append(point)
    return [_mean_point(key, of_seeds) for key, of_seeds in points.items()]


def _mean_point(key: tuple[Any, ...], points: Sequence[dict[str, float]]) -> dict[str, Any]:
    mean = SeedStatistics.of([point["mean"] for point in points])
    dimensions = {name: statistics.fmean(point[name] for point in points) for name in ("valence", "arousal")}
    names = dict(zip(("variant", "pattern", "mask", "percent"), key, strict=True))
    return {**names, **dimensions, "mean": mean.mean, "deviation": mean.deviation}
