"""How this package compiles: the numba decorators that the kernels share, and the threads that run them.

It imports numba, so only the kernels import it at module level. No formula lives here.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

# Contraction lets LLVM use fused multiply-adds; nothing that reorders sums or assumes away NaN is allowed.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled by numba, from the disk cache where one can be written and in memory otherwise."""
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:
        # Raised at decoration when neither the package's folder nor the user's cache folder is writable.
        return numba.njit(**OPTIONS)(function)


def in_threads(run: Callable[[int, int], None], rows: int, rows_per_task: int) -> None:
    """Call `run(start, stop)` for consecutive ranges of `rows_per_task` rows, on every core this process may use.

    `run` must release the interpreter lock and write only its own rows; the result then does not depend on the
    number of cores. Few rows are done at once, in the calling thread.
    """
    starts = range(0, rows, rows_per_task)
    if len(starts) <= 1 or _CORES == 1:
        run(0, rows)
        return
    with ThreadPoolExecutor(min(_CORES, len(starts))) as pool:
        for _ in pool.map(lambda start: run(start, min(start + rows_per_task, rows)), starts):
            pass
