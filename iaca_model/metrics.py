"""The metric: the concordance correlation coefficient (CCC) over any number of batches and ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from iaca_model.loss import concordance, moment_sums

_CONSTANT = 1e-12  # a variance below this share of the mean square is rounding


class ConcordanceMeter:
    """CCC of valence and arousal over all rows added, with population moments (see `iaca_model.loss`).

    It adds up six float64 sums per dimension and divides once, so that its state is additive: the sum of two states is
    the state of all rows of both.
    """

    def __init__(self) -> None:
        self._sums_62 = torch.zeros(6, 2, dtype=torch.float64)

    def update(self, values_N2: Tensor, target_N2: Tensor, ok_N: Tensor) -> None:
        """Add the rows whose `ok_N` is True.

        Args:
            values_N2: predicted valence, arousal; any leading shape will do in place of N, here and below.
            target_N2: true valence, arousal.
            ok_N: bool, True at the valid rows.

        Raises:
            ValueError: a valid row holds NaN or infinity.
        """
        sums_62 = moment_sums(values_N2.detach(), target_N2.detach(), ok_N).cpu()
        if not sums_62.isfinite().all():
            bad = ~(values_N2.isfinite() & target_N2.isfinite()).all(-1) & ok_N
            raise ValueError(
                f"{int(bad.sum())} of {int(ok_N.sum())} valid rows hold NaN or infinity; mask them or mend the model"
            )
        self._sums_62 += sums_62

    def merge(self, other: ConcordanceMeter) -> None:
        """Add the rows that were added to `other`."""
        self._sums_62 += other._sums_62

    def state(self) -> Tensor:
        """Copy the sums, float64 (6, 2): n, sx, sy, sxx, syy, sxy by valence, arousal; x is predicted, y true."""
        return self._sums_62.clone()

    @classmethod
    def from_state(cls, state_62: Tensor) -> ConcordanceMeter:
        """Build the meter that has this `state`, e.g. the sum of the states of all ranks."""
        meter = cls()
        meter._sums_62 += state_62.to("cpu", torch.float64)
        return meter

    @property
    def num_rows(self) -> int:
        """Number of valid rows that were added."""
        return int(self._sums_62[0, 0])

    def compute(self) -> dict[str, float | None]:
        """Compute the CCC of `valence` and `arousal` and their `mean`.

        It is 0 by definition where prediction or label is constant, and None with fewer than two valid rows.
        """
        if self.num_rows < 2:
            return {"valence": None, "arousal": None, "mean": None}
        ccc_2 = torch.where(self._constant(), 0.0, concordance(self._sums_62))
        valence, arousal = ccc_2.tolist()
        return {"valence": valence, "arousal": arousal, "mean": (valence + arousal) / 2}

    def _constant(self) -> Tensor:
        n, sx, sy, sxx, syy, _ = self._sums_62
        return (sxx / n - (sx / n) ** 2 <= _CONSTANT * sxx / n) | (syy / n - (sy / n) ** 2 <= _CONSTANT * syy / n)
