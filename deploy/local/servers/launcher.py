"""Run as a file by its path: become who and what the arguments say, tied to the parent's life.

    python -I -S launcher.py PARENT_PID DEATH_SIGNAL UID GID PROGRAM ARGUMENT...

UID and GID are ``-`` to stay as we are. A separate program rather than code between fork and
exec, which would not be safe in a parent that has threads. Linux clears the parent-death
signal when the uid changes, so it is asked for last.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process by the program."""
    parent, death_signal = int(sys.argv[1]), int(sys.argv[2])
    if sys.argv[3] != "-":
        os.setgroups([])
        os.setgid(int(sys.argv[4]))
        os.setuid(int(sys.argv[3]))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before we could ask
        raise SystemExit(1)
    os.execv(sys.argv[5], sys.argv[5:])  # noqa: S606 - starting the program is the point


if __name__ == "__main__":
    main()
