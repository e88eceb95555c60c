"""Every benchmark after the other: `make bench`, or `python -m benchmarks NAME …` for some."""

import importlib
import sys

NAMES = ("pipeline", "parse", "backtest", "implied_volatility", "options", "context", "verdicts", "scan")


def main(wanted: list[str]) -> int:
    """Runs the named benchmarks (all without names) and returns 1 when one of them missed a limit."""
    unknown = sorted(set(wanted) - set(NAMES))
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}: use {', '.join(NAMES)}.")
        return 2
    missed = 0
    for name in wanted or NAMES:
        print(f"\n{name}", flush=True)
        missed |= importlib.import_module(f"benchmarks.{name}").main() or 0
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
