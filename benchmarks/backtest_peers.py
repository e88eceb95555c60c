"""The peers' half of benchmarks/backtest.py: vectorbt and backtesting.py on arrays from an npz file, seconds as JSON.

Runs in whatever interpreter has the peers and imports nothing of this project.
"""

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import backtesting
import numpy as np
import pandas as pd
import vectorbt

warnings.filterwarnings("ignore")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `repeats` calls after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(path: str) -> None:
    """Times both peers on the data of `path`; the last line printed is JSON."""
    data = np.load(path)
    frames = {name: pd.DataFrame(data[name]) for name in ("open", "high", "low", "close", "entries", "stop", "target")}
    repeats = int(data["repeats"])

    def run_vectorbt() -> object:
        portfolio = vectorbt.Portfolio.from_signals(
            frames["close"],
            entries=frames["entries"],
            open=frames["open"],
            high=frames["high"],
            low=frames["low"],
            price=frames["open"],
            sl_stop=frames["stop"],
            tp_stop=frames["target"],
            slippage=0.001,
            freq="1min",
            stop_entry_price="fillprice",
        )
        return portfolio.trades.records_arr.shape[0]

    class Entries(backtesting.Strategy):
        """Buys where the array says so, with the array's stop and target."""

        def init(self) -> None:
            """Nothing to prepare: the arrays are columns."""

        def next(self) -> None:
            """One bar."""
            row = len(self.data) - 1
            if self.data.Entry[row] and not self.position:
                price = self.data.Close[row]
                self.buy(size=0.5, sl=price * (1 - self.data.Stop[row]), tp=price * (1 + self.data.Target[row]))

    columns = []
    for column in range(data["close"].shape[1]):
        columns.append(
            pd.DataFrame(
                {
                    "Open": data["open"][:, column],
                    "High": data["high"][:, column],
                    "Low": data["low"][:, column],
                    "Close": data["close"][:, column],
                    "Entry": data["entries"][:, column],
                    "Stop": np.nan_to_num(data["stop"][:, column]),
                    "Target": np.nan_to_num(data["target"][:, column]),
                }
            )
        )

    def run_backtesting() -> object:
        return [backtesting.Backtest(frame, Entries, cash=1e6, commission=0.001).run() for frame in columns]

    print(
        json.dumps(
            {
                "vectorbt": vectorbt.__version__,
                "backtesting.py": backtesting.__version__,
                "peer entries": int(data["entries"].sum()),
                "peer trades of vectorbt": int(run_vectorbt()),
                "vectorbt, s": median_seconds(run_vectorbt, repeats),
                "backtesting.py, s": median_seconds(run_backtesting, 1),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
