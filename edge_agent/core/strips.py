"""The last half minute of every curve, and the strips that are cut from it around alerts."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from wardstream.contracts.identity import check_boot_id
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import AlertStrip, WaveformChunk

_GRACE_NS: Final = 2 * NS_PER_S
"""A curve that is this much behind the newest is not waited for."""

_SMALLEST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Order:
    alert_id: str
    start_ns: int
    end_ns: int


class StripCutter:
    """Keeps recent chunks at their own rate and cuts a strip once its end has been seen."""

    def __init__(self, device_id: str, boot_id: str, *, before_s: float, after_s: float) -> None:
        self._device_id = device_id
        self._boot_id = check_boot_id(boot_id)
        self._before_ns = round(before_s * NS_PER_S)
        self._after_ns = round(after_s * NS_PER_S)
        self._reach_ns = self._before_ns + self._after_ns + 2 * _GRACE_NS
        self._recent: dict[tuple[str, ...], deque[WaveformChunk]] = {}
        self._orders: list[_Order] = []
        self._next_number = 0

    @property
    def enabled(self) -> bool:
        """Whether strips may leave at all."""
        return self._before_ns + self._after_ns > 0

    def keep(self, chunk: WaveformChunk) -> None:
        """Remember `chunk`; forget what no strip can reach any more."""
        if not self.enabled:
            return
        kept = self._recent.get(chunk.codes)
        if kept is None:
            kept = self._recent[chunk.codes] = deque()
        elif kept and (
            chunk.start_time_ns < kept[-1].start_time_ns
            or chunk.sampling_rate_hz != kept[-1].sampling_rate_hz
            or chunk.unit is not kept[-1].unit
        ):
            kept.clear()  # the clock was set back, or the curve is another one now
        kept.append(chunk)
        horizon = chunk.start_time_ns - self._reach_ns
        while len(kept) > 1 and kept[1].start_time_ns < horizon:
            kept.popleft()

    @property
    def ordered(self) -> bool:
        """Whether any strip is still to be cut."""
        return bool(self._orders)

    def order(self, alert_id: str, time_ns: TimestampNs) -> None:
        """Cut a strip around `time_ns` for that alert as soon as it can be complete."""
        if self.enabled and all(order.alert_id != alert_id for order in self._orders):
            start_ns, end_ns = time_ns - self._before_ns, time_ns + self._after_ns
            self._orders.append(_Order(alert_id, start_ns, end_ns))

    def due(self, now_ns: TimestampNs) -> list[AlertStrip]:
        """Strips that are complete at `now_ns`, or will not become more so."""
        if not self._orders:
            return []
        due = [order for order in self._orders if self._complete(order, now_ns)]
        self._orders = [order for order in self._orders if order not in due]
        strips = (self._cut(order) for order in due)
        return [strip for strip in strips if strip is not None]

    def _complete(self, order: _Order, now_ns: TimestampNs) -> bool:
        if now_ns >= order.end_ns + _GRACE_NS or now_ns < order.start_ns:
            return True
        live = [kept[-1].end_time_ns for kept in self._recent.values() if kept]
        return bool(live) and min(live) >= order.end_ns

    def _cut(self, order: _Order) -> AlertStrip | None:
        chunks = [self._cut_group(kept, order) for kept in self._recent.values() if kept]
        found = tuple(chunk for chunk in chunks if chunk is not None)
        if not found:
            return None
        number = self._next_number
        self._next_number += 1
        return AlertStrip(
            device_id=self._device_id,
            boot_id=self._boot_id,
            sequence_number=number,
            alert_id=order.alert_id,
            chunks=found,
        )

    def _cut_group(self, kept: deque[WaveformChunk], order: _Order) -> WaveformChunk | None:
        inside = [
            c for c in kept if c.end_time_ns > order.start_ns and c.start_time_ns < order.end_ns
        ]
        if not inside:
            return None
        first = inside[0]
        rate = first.sampling_rate_hz
        begin_ns = max(order.start_ns, first.start_time_ns)
        # First sample at or after the begin, and as many as fit before the end.
        skip = int(np.ceil((begin_ns - first.start_time_ns) * rate / NS_PER_S - _SMALLEST))
        start_ns = TimestampNs(first.start_time_ns + round(skip * NS_PER_S / rate))
        end_ns = min(order.end_ns, inside[-1].end_time_ns)
        n_samples = int((end_ns - start_ns) * rate / NS_PER_S + _SMALLEST)
        if n_samples < 1:
            return None
        samples = np.full((len(first.codes), n_samples), np.nan, dtype=np.float32)
        for chunk in inside:
            offset = round((chunk.start_time_ns - start_ns) * rate / NS_PER_S)
            low, high = max(offset, 0), min(offset + chunk.samples.shape[1], n_samples)
            if high > low:
                samples[:, low:high] = chunk.samples[:, low - offset : high - offset]
        return WaveformChunk(
            device_id=self._device_id,
            boot_id=self._boot_id,
            sequence_number=first.sequence_number,
            codes=first.codes,
            unit=first.unit,
            sampling_rate_hz=rate,
            start_time_ns=start_ns,
            samples=samples,
        )
