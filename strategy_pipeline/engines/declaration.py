"""What a context engine is: a declaration of what it reads, when that is too old, and what it is worth to a request.

How the declaration is applied to any number of requests is here too; which engines exist is in context.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from strategy_pipeline.errors import DataError
from strategy_pipeline.lake.tables import CONTEXT_SCORES, DIRECTIONS, INSTANT, STYLES
from strategy_pipeline.market.session_clock import MINUTE_US, session_number, session_of, session_us

KEY_DTYPES = pl.Schema(
    {
        "symbol": pl.String(),
        "as_of": INSTANT,
        "direction": pl.Enum(DIRECTIONS),
        "style": pl.Enum(STYLES),
        "momentum": pl.Boolean(),
    }
)
# +1 for LONG, -1 for SHORT.
SIDE = pl.when(pl.col("direction") == "LONG").then(1.0).otherwise(-1.0)


@dataclass(frozen=True)
class Age:
    """How old what a row describes may be: in sessions by the calendar, or in regular-hours minutes."""

    limit: int
    unit: str

    def exceeded(self, described_at: pl.Series, as_of: pl.Series) -> pl.Series:
        """Whether it is older than allowed at each moment; null where nothing is described."""
        if self.unit == "sessions":
            return session_number(session_of(as_of)) - session_number(session_of(described_at)) > self.limit
        return session_us(as_of) - session_us(described_at) > self.limit * MINUTE_US


# Rows of moments (symbol, as_of) and the engine's table -> the same rows with described_at (INSTANT, null without a
# row), missing and outdated (why the row cannot be used or is old by its own account, else null), inputs_missing,
# source_key, and whatever the engine's expressions read.
Find = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class Engine:
    """An engine as data (context_engines.md).

    `find` looks up what was known at each moment. The expressions see a request's columns and what was found:
    `multiplier` and `confidence` (clamped to 0-1) make the contribution; `ln_multiplier` is given where the logarithm
    is what the definition names. `neutral_recommendation` stands where the answer is stale or missing.
    """

    name: str
    title: str
    table: str
    stale_after: Age
    multiplier_range: tuple[float, float]
    labels: tuple[str, ...]
    recommendations: tuple[str, ...]
    find: Find = field(compare=False)
    label: pl.Expr = field(compare=False)
    recommendation: pl.Expr = field(compare=False)
    multiplier: pl.Expr = field(compare=False)
    confidence: pl.Expr = field(compare=False)
    ln_multiplier: pl.Expr | None = field(default=None, compare=False)
    neutral_recommendation: str | None = None
    request_columns: tuple[str, ...] = ()
    version: str = "1"

    @property
    def definition_version(self) -> str:
        """What the rows record."""
        return f"context-{self.name}-{self.version}"

    def evaluate(self, requests: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
        """One row of ``context_scores`` for each request, sorted by its key.

        requests: symbol, as_of (UTC), direction, style, momentum; the same request twice counts once. table: rows of
        the table the engine reads. Only what was known at as_of counts, so one request alone and many give the same
        bits. An error inside is an error of the run, never a neutral answer.
        """
        return self.answer(normal_requests(requests), table)

    def answer(self, requests: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
        """As ``evaluate`` for requests that ``normal_requests`` gave."""
        absent = [name for name in self.request_columns if name not in requests.columns]
        if absent:
            raise DataError(f"{self.title} as configured needs requests with {', '.join(absent)}.")
        # Many requests ask about one moment, and what was known then does not depend on the rest of them.
        moment = pl.struct("symbol", "as_of").rle_id()
        place = requests.select(moment).to_series()
        moments = requests.select("symbol", "as_of").unique(maintain_order=True)
        found = self.find(moments, table)
        passed = session_us(found["as_of"]) - session_us(found["described_at"])
        found = found.with_columns(
            age_min=(passed * (1.0 / MINUTE_US)).clip(lower_bound=0.0),
            _old=self.stale_after.exceeded(found["described_at"], found["as_of"]),
        ).drop("symbol", "as_of")
        rows = pl.concat([requests, found[place]], how="horizontal")
        absent_row = pl.col("described_at").is_null()
        rows = rows.with_columns(
            status=pl.when(absent_row)
            .then(pl.lit("missing"))
            .when(pl.col("_old") | pl.col("outdated").is_not_null())
            .then(pl.lit("stale"))
            .when(pl.col("missing").is_not_null())
            .then(pl.lit("missing"))
            .otherwise(pl.lit("ok")),
            reason=pl.when(absent_row)
            .then(pl.lit("no_row"))
            .when(pl.col("_old"))
            .then(pl.lit("too_old"))
            .otherwise(pl.coalesce("outdated", "missing")),
        )
        ok = pl.col("status") == "ok"
        rows = rows.with_columns(
            multiplier=pl.when(ok).then(self.multiplier).otherwise(1.0),
            confidence=pl.when(ok).then(self.confidence.clip(0.0, 1.0)).otherwise(0.0),
        )
        log = pl.col("multiplier").log() if self.ln_multiplier is None else self.ln_multiplier
        return rows.with_columns(
            # Adding 0 turns -0 into 0.
            contribution_ln=pl.when(ok).then(pl.col("confidence") * log + 0.0).otherwise(0.0),
            engine=pl.lit(self.name),
            label=pl.when(ok).then(self.label.cast(pl.String)),
            recommendation=pl.when(ok)
            .then(self.recommendation.cast(pl.String))
            .otherwise(pl.lit(self.neutral_recommendation, dtype=pl.String)),
            available_at=pl.col("as_of"),
            definition_version=pl.lit(self.definition_version),
        ).select(pl.col(name).cast(kind) for name, kind in CONTEXT_SCORES.polars_schema.items())


def normal_requests(requests: pl.DataFrame) -> pl.DataFrame:
    """Requests in the types of KEY_DTYPES with their session, each once, sorted by key; raises DataError on a null.

    Further boolean columns of `requests` are kept for the engines that read them.
    """
    typed = requests.with_columns(pl.col(name).cast(kind) for name, kind in KEY_DTYPES.items())
    empty = [name for name in KEY_DTYPES if typed[name].null_count()]
    if empty:
        raise DataError(f"Requests have empty {', '.join(empty)}: every part of the question must be there.")
    further = [name for name, kind in typed.schema.items() if name not in KEY_DTYPES and kind == pl.Boolean]
    each_once = typed.select(*KEY_DTYPES, *further).unique(list(KEY_DTYPES), keep="first", maintain_order=True)
    ordered = each_once.sort(*KEY_DTYPES)
    return ordered.with_columns(session=session_of(ordered["as_of"]))


def newest_known(table: pl.DataFrame, by: list[str], event: str) -> pl.DataFrame:
    """Rows of `table` without those that, when they became known, were older by `event` than one known before.

    A late revision of an old row must not hide a newer one from a backward join.
    """
    ordered = table.sort(event, maintain_order=True).sort("available_at", maintain_order=True)
    newest = pl.col(event).cum_max()
    return ordered.filter(pl.col(event) >= (newest.over(by) if by else newest))


def by_word(column: str, values: dict[str, float]) -> pl.Expr:
    """The number that belongs to each word of a column; null for null."""
    return pl.col(column).cast(pl.String).replace_strict(list(values), list(values.values()), return_dtype=pl.Float64)


def by_step(value: pl.Expr, steps: tuple[tuple[float, float], ...], otherwise: float) -> pl.Expr:
    """The number of the first step (above, number) that `value`, rounded to 9 decimals, lies above."""
    found = pl.lit(otherwise)
    for above, number in reversed(steps):
        found = pl.when(value.round(9) > above).then(number).otherwise(found)
    return found


def names_where(conditions: dict[str, pl.Expr]) -> pl.Expr:
    """The names of the conditions that hold, as a list."""
    return pl.concat_list(pl.when(holds).then(pl.lit(name)) for name, holds in conditions.items()).list.drop_nulls()


def instant_text(column: str) -> pl.Expr:
    """An instant as it stands in a source key."""
    return pl.col(column).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
