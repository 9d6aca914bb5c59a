"""``python -m edge_agent``."""

import ctypes
import os
import sys
from contextlib import suppress
from typing import Any, cast

from edge_agent.adapters.priority import take_precedence

# A restart on a busy machine waits its turn for every import, so the bed goes first at once.
if sys.argv[1:2] == ["run"]:
    take_precedence()

# One bed, a few samples at a time: threads of numeric libraries only cost memory and jitter.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# numba takes scipy's linear algebra in wherever scipy is installed: 15 MB that no kernel uses.
cast("dict[str, Any]", sys.modules).setdefault("scipy", None)

# Each of our few threads would get heap arenas of its own (M_ARENA_MAX of glibc's malloc.h).
with suppress(OSError, AttributeError):
    ctypes.CDLL(None).mallopt(-8, 2)

from edge_agent.cli import main  # noqa: E402 - all of the above must come first

if __name__ == "__main__":
    main()
