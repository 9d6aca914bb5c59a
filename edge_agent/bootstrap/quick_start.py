"""What an agent need not load to watch a bed: each second of a restart is a second blind."""

import importlib
import sys


def spare_scipy() -> None:
    """Let numba start without SciPy, which it loads only to find out whether there is BLAS.

    Notes
    -----
    ``numba.np.arraymath`` asks once, when the first kernel is compiled or loaded. Kernels that
    multiply matrices need the answer yes; ours, loops over samples, do not, and a kernel that did
    would refuse to compile rather than run wrongly. Measured: 0.3 to 0.6 s of the 2 s of CPU that a
    start takes, and SciPy's memory.
    """
    if "scipy" in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules["scipy"] = None  # pyright: ignore[reportArgumentType] - makes its import fail
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy"]
