"""The leaderboard as a table for a terminal: every detector of the run, untestable ones with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from strategy_pipeline.detectors import catalogue


@dataclass(frozen=True)
class BacktestOutcome:
    """What a command shows of a backtest: leaderboard rows, a title, and lines on where things lie."""

    title: str
    rows: Sequence[Mapping[str, object]]
    lines: Sequence[str]


def table(rows: Sequence[Mapping[str, object]], title: str) -> Table:
    """One row a detector, in the given order, the untestable ones last with their reason."""
    shown = Table(title=title, title_justify="left")
    shown.add_column("detector", no_wrap=True)
    shown.add_column("trades", justify="right")
    shown.add_column("expectancy R [95 % interval]", justify="right")
    shown.add_column("profit factor", justify="right")
    shown.add_column("win rate", justify="right")
    shown.add_column("verdict")
    shown.add_column("recommendation")
    for row in rows:
        verdict, recommendation = str(row["verdict"]), str(row["recommendation"])
        count = "" if row["n"] is None else f"{row['n']:,}"
        if row["n"] is None:
            verdict = f"not testable: {why_not_testable(row)}"
            shown.add_row(str(row["detector"]), "", "", "", "", verdict, recommendation, style="dim")
            continue
        texts = (str(row["expectancy_text"]), str(row["profit_factor_text"]), str(row["win_rate_text"]))
        low = row["low"]
        style = "bold green" if isinstance(low, float) and low > 0 and not row["thin"] else None
        shown.add_row(str(row["detector"]), count, *texts, verdict, recommendation, style=style)
    return shown


def why_not_testable(row: Mapping[str, object]) -> str:
    """The reason in few words: a symbol of the detector's classes, a kind of data, or inputs are missing."""
    if "has a session in the window" in str(row["because"]):
        classes = catalogue.entry(str(row["detector"])).asset_classes
        return f"no {' or '.join(sorted(classes))} symbol with data"
    return str(row["because"]).split(" (")[0].rstrip(".")
