"""A tiny synthetic market below a test's folder, and definitions whose resources point there."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import dagster as dg

from strategy_pipeline.definitions import build_defs
from strategy_pipeline.defs.launch import materialize
from strategy_pipeline.defs.resources import default_resources
from strategy_pipeline.lake.store import Lake
from strategy_pipeline.settings import Settings, Watchlist, load_settings
from strategy_pipeline.synthetic.files import SyntheticMarket

FILES = ["stock_minute_file", "index_minute_file", "stock_day_file", "index_day_file"]
UPSTREAM = [*FILES, "corporate_actions", "historical_bars", "features"]


class StandingClock:
    """A clock that shows the same moment for ever."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@dataclass(frozen=True)
class SmallMarket:
    """A market of a few sessions, written, and what a run over it needs."""

    home: Path
    market: SyntheticMarket
    settings: Settings
    definitions: dg.Definitions

    @property
    def sessions(self) -> tuple[date, ...]:
        return self.market.plan.sessions

    @property
    def keys(self) -> tuple[str, str]:
        return self.sessions[0].isoformat(), self.sessions[-1].isoformat()

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_location)

    def run(self, instance, assets, keys=None, config=None):
        return materialize(
            self.definitions,
            instance,
            "backfill_bars",
            assets=assets,
            keys=keys or self.keys,
            config=config,
            trigger="test",
        )


def small_market(home: Path, *, sessions: int = 24, symbols: int = 6, **overrides) -> SmallMarket:
    """`sessions` sessions of `symbols` symbols below `home`; `overrides` replace resources."""
    market = SyntheticMarket(7, sessions, symbols, history=0)
    settings = load_settings({"STRATEGY_HOME": str(home)})
    market.write(settings.vendor_folder)
    resources = {**default_resources(lambda: settings), "watchlist": Watchlist(market.watchlist()), **overrides}
    return SmallMarket(home, market, settings, build_defs(**resources))


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
