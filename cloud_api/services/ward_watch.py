"""Looks at the ward once a second: new numerics, changed beds, beds nothing is heard of."""

import asyncio
import logging
from dataclasses import replace

import msgspec

from cloud_api.core.ports import Clock, WardRow, WardStore
from cloud_api.core.silence import SeenDevice, is_silent
from cloud_api.core.views import BedNumericsView, BedView, NumericsView
from cloud_api.services.fanout import FanOut
from cloud_api.services.pacing import stopped_within
from wardstream.contracts.device import Connectivity
from wardstream.contracts.errors import TransientError
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import GenerationMode

logger = logging.getLogger(__name__)

_NO_NUMERICS = NumericsView(time_ns=None, age_s=None, values={})


class WardWatch:
    """Tells readers what is new on the ward, and raises the cloud's own alert."""

    name = "ward watch"

    def __init__(
        self,
        store: WardStore,
        fan_out: FanOut,
        *,
        clock: Clock,
        boot_id: str,
        silence_s: float,
        period_s: float = 1.0,
    ) -> None:
        self._store = store
        self._fan_out = fan_out
        self._clock = clock
        self._boot_id = boot_id
        self._silence_ns = round(silence_s * NS_PER_S)
        self._period_s = period_s
        self._watching_since_ns: int | None = None
        self._beds: dict[str, BedView] = {}
        self._frames: dict[str, int | None] = {}
        self._store_is_up = True

    @property
    def store_is_up(self) -> bool:
        """Whether the last look went through."""
        return self._store_is_up

    async def run(self, stop: asyncio.Event) -> None:
        """Look once a period until `stop`."""
        loop = asyncio.get_running_loop()
        next_look_s = loop.time()
        while not stop.is_set():
            try:
                await self._look()
                self._store_is_up = True
            except TransientError:
                # Blind is not silent: the beds get their full time anew once we can see again.
                self._store_is_up = False
                self._watching_since_ns = None
            next_look_s = max(next_look_s + self._period_s, loop.time())
            await stopped_within(stop, next_look_s - loop.time())

    async def _look(self) -> None:
        now_ns = self._clock()
        if self._watching_since_ns is None:
            self._watching_since_ns = now_ns
        rows = await self._store.ward(now_ns)
        self._tell_numerics(rows)
        for row in rows:
            await self._judge_silence(row, now_ns, self._watching_since_ns)
        if await self._store.lapse_acknowledgements(boot_id=self._boot_id, now_ns=now_ns):
            self._fan_out.ring()
        self._tell_devices(rows)

    def _tell_numerics(self, rows: list[WardRow]) -> None:
        fresh: list[BedNumericsView] = []
        for row in rows:
            bed, time_ns = row.bed, row.bed.numerics.time_ns
            if time_ns is not None and self._frames.get(bed.device_id) != time_ns:
                fresh.append(
                    BedNumericsView(bed_id=bed.bed_id, time_ns=time_ns, values=bed.numerics.values)
                )
            self._frames[bed.device_id] = time_ns
        if fresh:
            self._fan_out.tell_numerics(msgspec.json.encode(fresh))

    def _tell_devices(self, rows: list[WardRow]) -> None:
        for row in rows:
            bed = row.bed
            # What changes every second does not make a bed another one.
            lasting = replace(bed, numerics=_NO_NUMERICS, last_seen_time_ns=0)
            if self._beds.get(bed.device_id) != lasting:
                self._beds[bed.device_id] = lasting
                self._fan_out.tell_device(bed.device_id, _device_event(bed))

    async def _judge_silence(self, row: WardRow, now_ns: int, since_ns: int) -> None:
        bed = row.bed
        device = SeenDevice(
            device_id=bed.device_id,
            connectivity=Connectivity(bed.connectivity),
            generation_mode=GenerationMode(bed.generation_mode),
            seen_time_ns=bed.last_seen_time_ns,
            silent=bed.silent,
        )
        silent = is_silent(
            device, now_ns=now_ns, watching_since_ns=since_ns, silence_ns=self._silence_ns
        )
        if silent == bed.silent:
            return
        changed = await self._store.set_silent(
            bed.device_id, silent=silent, boot_id=self._boot_id, now_ns=now_ns
        )
        if changed:
            self._fan_out.ring()
            if silent:
                logger.warning("device %s is silent", bed.device_id)
            else:
                logger.info("device %s is heard again", bed.device_id)


def _device_event(bed: BedView) -> bytes:
    # Alerts travel as events of their own; a list that is not filled must not look empty.
    view = msgspec.to_builtins(bed)
    del view["alerts"]
    return msgspec.json.encode(view)
