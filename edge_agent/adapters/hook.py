"""The site's own command, run with every alert: a lamp, a buzzer, a pager."""

import json
import logging
import os
import subprocess
from collections.abc import Callable, Sequence

from wardstream.contracts.alert import AlertEvent

logger = logging.getLogger(__name__)


class CommandHook:
    """`AlertHook` that starts `command` for every event.

    The event comes as JSON on standard input and as ``ALERT_*`` in the environment. A
    command that takes longer than `deadline_s` is killed.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell is involved.
    fields : callable
        What is said of an event, flat.
    deadline_s : float
        Longest run in seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        fields: Callable[[AlertEvent], dict[str, str | int | float]],
        deadline_s: float = 5.0,
    ) -> None:
        self._command = tuple(command)
        self._fields = fields
        self._deadline_s = deadline_s

    def run(self, event: AlertEvent) -> None:
        """Run it, at most until its deadline."""
        fields = self._fields(event)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            **{f"ALERT_{key.upper()}": str(value) for key, value in fields.items()},
        }
        try:
            done = subprocess.run(
                self._command,
                input=json.dumps(fields).encode(),
                env=environment,
                timeout=self._deadline_s,
                capture_output=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            logger.error("the alert hook ran longer than %s s and was killed", self._deadline_s)
        except OSError as error:
            logger.error("the alert hook cannot be started: %s", error)
        else:
            if done.returncode:
                told = done.stderr.decode(errors="replace").strip()[-200:]
                logger.error("the alert hook ended with %d: %s", done.returncode, told)
