"""How kernels are compiled: once per machine where a cache can be written, else once per run."""

from collections.abc import Callable
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
    notices changes of its own file only, so no kernel calls one of another module.
    """
    try:
        compiled: Callable[P, R] = numba.njit(cache=True)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = numba.njit(function)
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
