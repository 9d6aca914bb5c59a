"""Sound and light at the bed: what stands is heard until a person's order keeps it quiet.

It hears of every change before the disk and the network do, and needs neither.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol, Self

from wardstream.alerting.annunciation import (
    BURSTS,
    is_lit,
    most_urgent_heard,
    most_urgent_seen,
)
from wardstream.alerting.state import Alert
from wardstream.contracts.alert import (
    AlertEvent,
    AlertPriority,
    AlertSignal,
    Presence,
    SignalState,
    Transition,
)

logger = logging.getLogger(__name__)

STEP_S: Final = 0.05
"""How often is looked at what is due."""


class Player(Protocol):
    """A loudspeaker."""

    async def play(self, priority: AlertPriority) -> None:
        """Play one burst to its end; cancelled, it stops at once.

        Raises
        ------
        OSError
            It cannot be heard.
        """
        ...


class Light(Protocol):
    """An alarm light."""

    def show(self, priority: AlertPriority | None) -> None:
        """Light up for `priority`, or go dark."""
        ...

    def close(self) -> None:
        """Go dark and let go of it."""
        ...


class Sounder:
    """Plays bursts and flashes for what stands at the bed.

    Parameters
    ----------
    player : Player or None
        Where it sounds.
    light : Light or None
        What flashes.
    monotonic_s : callable
        Clock of the pattern.
    standing : iterable of Alert
        What the last life of the agent left.
    """

    name = "sounder"

    def __init__(
        self,
        player: Player | None,
        light: Light | None,
        monotonic_s: Callable[[], float],
        standing: Iterable[Alert] = (),
    ) -> None:
        self._player = player
        self._light = light
        self._monotonic_s = monotonic_s
        # Whatever was silenced in another life is not silenced in this one.
        self._standing: dict[str, tuple[AlertPriority, AlertSignal]] = {
            alert.alert_id: (alert.priority, _SHOWN) for alert in standing
        }
        self._reminder = False
        self._changed = asyncio.Event()
        self._playing: asyncio.Task[None] | None = None
        self._playing_priority: AlertPriority | None = None
        self._next_burst_s = 0.0
        self._lit_since_s = 0.0
        self._lit_priority: AlertPriority | None = None
        self._lit = False
        self._complained = False
        self.n_bursts = 0

    def announce(self, event: AlertEvent) -> None:
        """Take note of `event`; what is due sounds at once."""
        if event.transition is Transition.REMINDED:
            self._reminder = True
        elif event.presence is Presence.OFF:
            self._standing.pop(event.alert_id, None)
        else:
            self._standing[event.alert_id] = (event.priority, event.signal)
        self._changed.set()

    @property
    def sounds(self) -> AlertPriority | None:
        """What is due to be heard."""
        return most_urgent_heard(self._standing.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_playing()
        if self._light is not None:
            self._light.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Sound and flash until `stop`."""
        while not stop.is_set():
            await self._step()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), STEP_S)
            self._changed.clear()

    async def _step(self) -> None:
        now_s = self._monotonic_s()
        self._flash(now_s)
        wanted = self.sounds
        if wanted is None and self._reminder:
            wanted = AlertPriority.LOW
        if wanted is None:
            if self._playing_priority is not None and not self._reminder:
                await self._stop_playing()
            return
        if wanted is not self._playing_priority and self._playing is not None:
            await self._stop_playing()  # another urgency does not wait for the end of a burst
        if self._playing is None and (
            now_s >= self._next_burst_s or wanted is not self._playing_priority
        ):
            self._reminder = False
            self._playing_priority = wanted
            self._next_burst_s = now_s + BURSTS[wanted].every_s
            self._playing = asyncio.create_task(self._play(wanted), name="alarm sound")

    async def _play(self, priority: AlertPriority) -> None:
        try:
            if self._player is not None:
                await self._player.play(priority)
            self.n_bursts += 1
            self._complained = False
        except OSError as error:
            if not self._complained:
                logger.error("the alarm sound cannot be played: %s", error)
            self._complained = True
        finally:
            self._playing = None

    async def _stop_playing(self) -> None:
        task, self._playing = self._playing, None
        self._playing_priority = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _flash(self, now_s: float) -> None:
        if self._light is None:
            return
        seen = most_urgent_seen(self._standing.values())
        if seen is not self._lit_priority:
            self._lit_priority, self._lit_since_s = seen, now_s
            self._lit = False
        lit = seen is not None and is_lit(seen, now_s - self._lit_since_s)
        if lit != self._lit or seen is None:
            if lit or self._lit or seen is None:
                self._light.show(seen if lit else None)
            self._lit = lit


_SHOWN = AlertSignal(audible=SignalState.ON, visible=SignalState.ON)
