"""A bed's place in the queue for the processor."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_NICENESS: Final = -10


def take_precedence() -> None:
    """Let the bed run before whatever else the machine does, where it may.

    Without it a busy machine stretches a restart, in which nobody watches, by its load. Needs
    root, CAP_SYS_NICE or the unit's ``Nice=``; without them nothing changes.
    """
    with suppress(OSError, AttributeError):
        if os.getpriority(os.PRIO_PROCESS, 0) > _NICENESS:
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
        # Linux shares the processor among sessions first, and niceness counts only within one.
        Path("/proc/self/autogroup").write_text(str(_NICENESS))
