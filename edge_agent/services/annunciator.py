"""Showing alerts at the bed: a log line at once, the site's own command beside it."""

import logging
from collections import deque
from typing import Final, Self

from edge_agent.core.ports import AlertHook, Measurements
from edge_agent.services.own_thread import OwnThread
from wardstream.contracts.alert import AlertEvent, Transition

logger = logging.getLogger(__name__)

HOOK_CAPACITY: Final = 64
"""Hook runs that may wait. The newest change is what counts, so the oldest one is dropped."""

_QUIET: Final = frozenset({Transition.CLEARED, Transition.ENDED, Transition.ACKNOWLEDGED})


class Annunciator(OwnThread):
    """Shows every alert event; `announce` never waits for anyone.

    Parameters
    ----------
    hook : AlertHook or None
        The site's command, run one at a time on a thread of its own.
    measurements : Measurements
        Counters.
    """

    def __init__(self, hook: AlertHook | None, measurements: Measurements) -> None:
        super().__init__("annunciator", "runs alert hooks")
        self._hook = hook
        self._measurements = measurements
        self._waiting: deque[AlertEvent] = deque()

    def announce(self, event: AlertEvent) -> None:
        """Show `event` now."""
        level = logging.INFO if event.transition in _QUIET else logging.WARNING
        logger.log(
            level,
            "%s %s: %s",
            event.priority.value,
            event.condition.value,
            event.transition.value,
            extra={"fields": alert_fields(event)},
        )
        if self._hook is None:
            return
        with self._changed:
            if len(self._waiting) == HOOK_CAPACITY:
                self._waiting.popleft()
                self._measurements.n_hooks_dropped += 1
            self._waiting.append(event)
            self._changed.notify()

    async def __aenter__(self) -> Self:
        # Without a hook there is nothing to wait for.
        return self if self._hook is None else await super().__aenter__()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                event = self._waiting.popleft()
            if self._hook is not None:
                self._hook.run(event)
                self._measurements.n_hook_runs += 1


def alert_fields(event: AlertEvent) -> dict[str, str | int | float]:
    """What the local annunciation says of `event`, flat, without any patient."""
    return {
        "event": "alert",
        "alert_id": event.alert_id,
        "device_id": event.device_id,
        "condition": event.condition.value,
        "kind": event.kind.value,
        "priority": event.priority.value,
        "transition": event.transition.value,
        "presence": event.presence.value,
        "audible": event.signal.audible.value,
        "event_time_ns": event.event_time_ns,
        "decision_latency_ms": round((event.decided_time_ns - event.received_time_ns) / 1e6, 3),
        "model_version": event.model_version,
        "generation_mode": event.generation_mode.value,
    }
