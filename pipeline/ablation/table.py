"""The table of an ablation: means, deviations and paired differences over seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ablation.feature_sequences import KINDS
from pipeline.ablation.variants import Variant

Result = dict[str, Any]  # of one trial, see `trial.run_trial`


@dataclass(frozen=True)
class Spread:
    """A mean over seeds; `deviation` is that of one seed, `error` that of the mean (both None of a single seed)."""

    mean: float
    deviation: float | None
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sample deviation, with n - 1."""
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None, None)
        deviation = statistics.stdev(values)
        return cls(mean, deviation, deviation / len(values) ** 0.5)


@dataclass(frozen=True)
class Row:
    """One variant over all seeds; a gain is the difference to `reference`, paired by seed."""

    variant: str
    reference: str
    num_seeds: int
    num_parameters: int
    corrupted: Spread  # mean CCC of valence and arousal
    clean: Spread
    gain_corrupted: Spread | None  # None of the reference itself
    gain_clean: Spread | None
    over_iaca: Spread | None  # on corrupted data; None unless this is a variation of IACA's default
    over_iaca_clean: Spread | None
    auroc: dict[str, Spread]  # by kind of corruption and `all`; empty without a modality gate
    gap: Spread | None


def rows_of(variants: Iterable[Variant], results: Sequence[Result]) -> list[Row]:
    """A row per variant, in their order, over the seeds that every result list has."""
    by_name: dict[str, dict[int, Result]] = {}
    for result in results:
        by_name.setdefault(result["variant"], {})[result["seed"]] = result
    return [_row(variant, by_name) for variant in variants]


def _row(variant: Variant, by_name: dict[str, dict[int, Result]]) -> Row:
    own, rival = by_name[variant.name], by_name.get(variant.rival)
    reference = by_name[variant.reference] if variant.name != variant.reference else None
    return Row(
        variant=variant.name,
        reference=variant.reference,
        num_seeds=len(own),
        num_parameters=next(iter(own.values()))["num_parameters"],
        corrupted=Spread.of([_ccc(result, "corrupted") for result in own.values()]),
        clean=Spread.of([_ccc(result, "clean") for result in own.values()]),
        gain_corrupted=_gain(own, reference, "corrupted"),
        gain_clean=_gain(own, reference, "clean"),
        over_iaca=_gain(own, rival, "corrupted"),
        over_iaca_clean=_gain(own, rival, "clean"),
        auroc={kind: spread for kind in (*KINDS, "all") if (spread := _detected(own, kind))},
        gap=_detected(own, "gap"),
    )


def _ccc(result: Result, data: str) -> float:
    return result["ccc"][data]["mean"]


def _gain(own: dict[int, Result], reference: dict[int, Result] | None, data: str) -> Spread | None:
    if reference is None:
        return None
    return Spread.of([_ccc(own[seed], data) - _ccc(reference[seed], data) for seed in own])


def _detected(own: dict[int, Result], what: str) -> Spread | None:
    found = [result["gate_detects"][what] for result in own.values() if result["gate_detects"]]
    known = [value for value in found if value is not None]
    return Spread.of(known) if known else None


HEADINGS = (
    *("variant", "corrupted", "gain", "over IACA", "clean", "gain", "over IACA"),
    *(f"AUROC {kind}" for kind in (*KINDS, "all")),
    "gap",
)


def cells(row: Row) -> tuple[str, ...]:
    """One row for people: mean ± deviation, gains ± their standard error."""
    detected = (_plain(row.auroc.get(kind)) for kind in (*KINDS, "all"))
    corrupted = (_value(row.corrupted), _signed(row.gain_corrupted), _signed(row.over_iaca))
    clean = (_value(row.clean), _signed(row.gain_clean), _signed(row.over_iaca_clean))
    return (row.variant, *corrupted, *clean, *detected, _plain(row.gap))


def markdown(rows: Iterable[Row]) -> str:
    """The table as Markdown."""
    return in_markdown(HEADINGS, map(cells, rows))


def in_markdown(headings: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    """Any table as Markdown, its first column to the left."""
    all_lines = [headings, tuple("---" if i == 0 else "--:" for i in range(len(headings))), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in all_lines) + "\n"


SHARES = (10, 20, 30, 50, 70, 90)  # of the steps without sound, as published
DIMENSIONS = ("CCC, valence / arousal", "clean", *(f"{share} % without sound" for share in SHARES))


def dimension_cells(results: Sequence[Result], curves: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Of each variant both dimensions, means over seeds: on clean data, and at random steps without sound, not told."""
    points = {(p["variant"], p["percent"]): p for p in curves if (p["pattern"], p["mask"]) == ("random", "unknown")}
    lines = []
    for name in dict.fromkeys(result["variant"] for result in results):
        clean = [result["ccc"]["clean"] for result in results if result["variant"] == name]
        means = {side: statistics.fmean(ccc[side] for ccc in clean) for side in ("valence", "arousal")}
        known = (points.get((name, share)) for share in SHARES)
        lines.append((name, _both(means), *(_both(point) if point else "" for point in known)))
    return lines


def _both(ccc: dict[str, Any]) -> str:
    return f"{_number(ccc['valence'])} / {_number(ccc['arousal'])}"


def _value(spread: Spread) -> str:
    return _number(spread.mean) + ("" if spread.deviation is None else f" ± {_number(spread.deviation)}")


def _signed(spread: Spread | None) -> str:
    if spread is None:
        return ""
    sign = "+" if spread.mean >= 0 else "-"
    return f"{sign}{_number(abs(spread.mean))}" + ("" if spread.error is None else f" ± {_number(spread.error)}")


def _plain(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.mean:.2f}"


def _number(value: float) -> str:
    return f"{value:.3f}"


def trials_csv(results: Sequence[Result]) -> bytes:
    """A line per trial: what was measured, without the curve."""
    lines = [
        {
            **{name: result[name] for name in ("variant", "base", "gate", "seed", "num_parameters", "cpu_s")},
            **{f"{data}_{name}": value for data, scores in result["ccc"].items() for name, value in scores.items()},
            **{f"auroc_{name}": value for name, value in (result["gate_detects"] or {}).items() if name != "gap"},
            "gap": (result["gate_detects"] or {}).get("gap"),
        }
        for result in results
    ]
    return _csv(lines, lambda line: tuple(line))


def curve_csv(curves: Sequence[dict[str, Any]]) -> bytes:
    """A line per variant, pattern, mask and percentage: the mean over seeds and its deviation."""
    return _csv(curves, lambda line: tuple(line))


def _csv(lines: Sequence[dict[str, Any]], columns_of: Callable[[dict[str, Any]], Sequence[str]]) -> bytes:
    columns = dict.fromkeys(column for line in lines for column in columns_of(line))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def mean_curves(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The missing-sound curves averaged over seeds, in the order in which the trials measured them."""
    points: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for result in results:
        for point in result["curve"]:
            key = (result["variant"], point["pattern"], point["mask"], point["percent"])
            points.setdefault(key, []).append(point)
    return [_point(key, found) for key, found in points.items()]


def _point(key: tuple[Any, ...], found: Sequence[dict[str, float]]) -> dict[str, Any]:
    spread = Spread.of([point["mean"] for point in found])
    parts = {name: statistics.fmean(point[name] for point in found) for name in ("valence", "arousal")}
    place = dict(zip(("variant", "pattern", "mask", "percent"), key, strict=True))
    return {**place, **parts, "mean": spread.mean, "deviation": spread.deviation}
