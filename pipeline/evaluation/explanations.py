"""A prediction's explanation as heat maps over time: what front and gates chose, and which steps attend to which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from iaca_model.model import Prediction
from pipeline.evaluation.gate_weights import in_shown_order, option_names

MAX_TICKS = 12


def heat_map(prediction: Prediction, sequence: int, times_s: Sequence[float] | None = None) -> Figure:
    """The gates and attention maps of one sequence of a batch; `savefig` writes it to a file.

    Above, a row per option of every gate: its weight from 0 to 1 at each step; first, where the model has a front, the
    reliability of each modality. Below, each modality's attention map: row = the step predicted, column = the step
    attended to. Steps without any modality are left empty.

    Args:
        prediction: of a batch, see `iaca_model.fusion.FusionOutput` for what its gates and maps are.
        sequence: which of the batch.
        times_s: of the L steps; by default their numbers.

    Raises:
        ValueError: the model has neither gates nor attention, or there are not L times.
    """
    valid_L = prediction.valid_BL[sequence].cpu().numpy()
    times = np.arange(len(valid_L)) if times_s is None else np.asarray(times_s)
    if len(times) != len(valid_L):
        raise ValueError(f"there are {len(times)} times for {len(valid_L)} steps; give one per step, or none")
    names, weights_OL = gate_rows(prediction, sequence)
    maps = {name: _mask_invalid(_array(map_BLL[sequence]), valid_L) for name, map_BLL in prediction.attention.items()}
    if not (names or maps):
        raise ValueError("the model has neither gates nor attention to show; base concat explains nothing")
    figure = Figure((9.0, 0.6 + 0.28 * len(names) + (4.2 if maps else 0)), layout="constrained")
    heights = [len(names) + 2] * bool(names) + [15] * bool(maps)
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if names:
        _draw_gates(panels[0].subplots(), names, weights_OL, times)
    if maps:
        for axis, (name, map_LL) in zip(panels[-1].subplots(1, len(maps)), maps.items(), strict=True):
            _draw_attention(axis, name, map_LL, times)
    return figure


def gate_rows(prediction: Prediction, sequence: int) -> tuple[list[str], NDArray[np.float32]]:
    """Names like `modality: audio` and the weights (options, L) of one sequence, NaN at steps without any modality.

    The reliability that a front gives each modality comes first, then the modality gate, then the other gates.
    """
    valid_L = prediction.valid_BL[sequence].cpu().numpy()
    names, rows = [], []
    for gate in in_shown_order(prediction.gates):
        for i, option in enumerate(option_names(prediction.gates, gate)):
            names.append(f"{gate}: {option}")
            rows.append(np.where(valid_L, _array(prediction.gates[gate][sequence, :, i]), np.nan))
    return names, np.array(rows, np.float32).reshape(len(names), len(valid_L))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor of any device and precision, with or without a gradient."""
    return tensor.detach().float().cpu().numpy()


def _mask_invalid(map_LL: NDArray, valid_L: NDArray[np.bool_]) -> NDArray:
    return np.where(valid_L[:, None] & valid_L, map_LL, np.nan)


def _draw_gates(axis: Axes, names: Sequence[str], weights_OL: NDArray, times: NDArray) -> None:
    image = axis.imshow(weights_OL, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(len(names)), names)
    _label_times(axis, times)
    axis.set_title(_title(names), loc="left")
    axis.figure.colorbar(image, ax=axis, label="weight")


def _title(names: Sequence[str]) -> str:
    num_reliability = sum(name.startswith("reliability: ") for name in names)
    front = "reliability, judged before attention" if num_reliability else ""
    return "; ".join(filter(None, (front, "gates" if len(names) > num_reliability else "")))


def _draw_attention(axis: Axes, name: str, map_LL: NDArray, times: NDArray) -> None:
    signed = bool(np.nanmin(map_LL, initial=0.0) < 0)
    largest = float(np.nanmax(np.abs(map_LL), initial=1e-12))
    image = axis.imshow(map_LL, cmap="RdBu" if signed else "viridis", vmin=-largest if signed else 0, vmax=largest)
    _label_times(axis, times)
    axis.set_yticks(axis.get_xticks(), [label.get_text() for label in axis.get_xticklabels()])
    axis.set(title=f"attention of {name}", xlabel="step attended to", ylabel="step predicted")
    axis.figure.colorbar(image, ax=axis, shrink=0.8)


def _label_times(axis: Axes, times: NDArray) -> None:
    steps = range(0, len(times), -(-len(times) // MAX_TICKS))
    axis.set_xticks(steps, [f"{times[step]:g}" for step in steps])
