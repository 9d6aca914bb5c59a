"""How kernels are compiled: once per machine where a cache can be written, else once per run."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled on its first call, without fast-math: NaN means missing here.

    Notes
    -----
    The machine code is kept in ``NUMBA_CACHE_DIR`` or beside the source. Where neither can be
    written, numba refuses to cache; then it is compiled anew in every process. A cached kernel
    notices changes of its own file only; one that calls kernels of other modules is made with
    `joint_kernel`.
    """
    try:
        compiled: Callable[P, R] = numba.njit(cache=True)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = numba.njit(function)
    return compiled


def joint_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """`function` compiled like a `kernel`, and anew when any module of this folder has changed.

    For kernels that call kernels of other modules: numba itself looks at one file only.
    """
    compiled = kernel(function)
    folder = Path(__file__).parent
    stamp = tuple((path.name, path.stat().st_mtime) for path in sorted(folder.glob("*.py")))
    # Numba 0.6x keeps the stamp that it compares there; without one nothing is cached anyway.
    index = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if index is not None:
        vars(index)["_source_stamp"] = (vars(index)["_source_stamp"], stamp)
    return compiled


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """`function` put into each kernel of its module that calls it.

    Notes
    -----
    For what runs once a sample: handing some arrays to a compiled function costs more than
    twenty additions (measured: the QRS detector halves its time). Never called by itself.
    """
    compiled: Callable[P, R] = numba.njit(inline="always")(function)
    return compiled
