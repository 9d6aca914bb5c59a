"""``python -m edge_agent``."""

import os

# One bed, a few samples at a time: threads of numeric libraries only cost memory and jitter.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from edge_agent.cli import main  # noqa: E402 - the variables must come first

if __name__ == "__main__":
    main()
