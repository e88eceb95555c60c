"""Records that only grow: the ledger of every configuration that was evaluated, and who opened what was held out.

Nothing here deletes or replaces a row, and the lake's own writer refuses these tables. What is recorded is computed in
``backtest/trials.py`` and ``backtest/validation.py``.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, datetime

import polars as pl

from strategy_pipeline.errors import ContractError, HoldoutError
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.lake.tables import HOLDOUT_OPENINGS, TRIAL_LEDGER

# Sums in another order, on another machine, differ by less than this; returns are fractions of the equity.
SAME_RETURN = 1e-9


class TrialLedger:
    """Every evaluated configuration in a lake, each once; it can be added to and read, nothing else."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def record(self, trials: pl.DataFrame) -> int:
        """Adds the trials that are not there yet and returns their number.

        `trials`: rows of ``trial_ledger``. Recording a trial again changes nothing; the first time it was evaluated
        stays. Raises ContractError when a known trial comes with another result.
        """
        added = 0
        for (detector,), rows in trials.unique("trial_id", keep="first").partition_by("detector", as_dict=True).items():
            known = self.read([detector])
            _refuse_other_results(rows, known)
            fresh = rows.join(known, on="trial_id", how="anti")
            if fresh.is_empty():
                continue
            key = {"detector": detector, "batch": _batch(fresh)}
            if self._lake.append(TRIAL_LEDGER, key, fresh):
                added += fresh.height
            else:
                # The same trials are being recorded by another writer.
                _refuse_other_results(fresh, self._lake.read(TRIAL_LEDGER, [key]))
        return added

    def read(
        self, detectors: Iterable[str] | None = None, start: date | None = None, end: date | None = None
    ) -> pl.DataFrame:
        """Trials of `detectors` (all without names) whose window overlaps `start` to `end`, each once, sorted by id."""
        wanted = None if detectors is None else set(detectors)
        keys = [key for key in self._lake.keys(TRIAL_LEDGER) if wanted is None or key["detector"] in wanted]
        overlaps = pl.lit(True)
        if start is not None:
            overlaps = overlaps & (pl.col("window_end") >= start)
        if end is not None:
            overlaps = overlaps & (pl.col("window_start") <= end)
        found = self._lake.read(TRIAL_LEDGER, keys, where=overlaps)
        # Two writers whose batches overlap may both have recorded a trial.
        return found.sort("trial_id", "evaluated_at").unique("trial_id", keep="first", maintain_order=True)


def _batch(trials: pl.DataFrame) -> str:
    ids = "".join(trials["trial_id"].sort().to_list())
    return hashlib.blake2b(ids.encode(), digest_size=12).hexdigest()


def _refuse_other_results(trials: pl.DataFrame, known: pl.DataFrame) -> None:
    both = trials.join(known, on="trial_id", suffix="_known")
    off = (pl.col("daily_returns") - pl.col("daily_returns_known")).list.eval(pl.element().abs()).list.max()
    same_shape = (pl.col("sessions") == pl.col("sessions_known")) & (pl.col("n_trades") == pl.col("n_trades_known"))
    other = both.filter(~same_shape)
    if other.is_empty():
        other = both.filter(off.fill_null(0.0) > SAME_RETURN)
    if not other.is_empty():
        raise ContractError(
            f"Trial {other['trial_id'][0]} of {other['detector'][0]} is in the ledger with another result: the code "
            "that made it has changed, so raise the version of the simulation."
        )


class Holdout:
    """The sessions that a study holds out; they can be opened once, and every attempt is recorded."""

    def __init__(self, lake: Lake, study: str, sessions: Iterable[date]) -> None:
        self._lake, self.study = lake, study
        self._sessions = tuple(sorted(sessions))
        if not self._sessions:
            raise HoldoutError(f"The study {study} holds no session out: give it a longer window.")

    def unlock(self, now: datetime) -> tuple[date, ...]:
        """The held out sessions; raises HoldoutError, and records the attempt, when they were opened before."""
        attempt = 1
        while not self._lake.append(
            HOLDOUT_OPENINGS, {"study": self.study, "attempt": attempt}, self._asked(attempt, now)
        ):
            attempt += 1
        if attempt > 1:
            first = self.openings()["asked_at"][0]
            raise HoldoutError(
                f"The holdout of {self.study} was opened on {first:%Y-%m-%d %H:%M} UTC: judge by that result, or begin "
                "a new study on later data."
            )
        return self._sessions

    def openings(self) -> pl.DataFrame:
        """Every attempt so far, the granted one first."""
        keys = [key for key in self._lake.keys(HOLDOUT_OPENINGS) if key["study"] == self.study]
        return self._lake.read(HOLDOUT_OPENINGS, keys).sort("attempt")

    def _asked(self, attempt: int, now: datetime) -> pl.DataFrame:
        row = (self.study, attempt, self._sessions[0], self._sessions[-1], attempt == 1, now)
        return pl.DataFrame([row], schema=HOLDOUT_OPENINGS.polars_schema, orient="row")
