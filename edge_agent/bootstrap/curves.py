"""Where a chunk goes after it was judged: to the device's ring, and to whoever may look."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge_agent.adapters.clock import process_age_s
from edge_agent.adapters.waveform_ring import RingLimits, WaveformRing
from edge_agent.bootstrap.annunciation import Authority
from edge_agent.core.pipeline import BedPipeline
from edge_agent.core.ports import Measurements
from edge_agent.services.live_view import LiveView, LiveViewParts
from edge_agent.services.waveform_keeper import WaveformKeeper
from edge_agent.settings import EdgeSettings
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.waveform import WaveformChunk

logger = logging.getLogger(__name__)

_RECALLED_NS: Final = 90 * NS_PER_S
"""How far before its start an agent looks for curves around alerts of the life before."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Ring of the device, and the service that fills it."""

    ring: WaveformRing
    keeper: WaveformKeeper


def make_curves(settings: EdgeSettings, measurements: Measurements) -> Curves:
    """The ring, with nothing of it started."""
    ring = WaveformRing(settings.state_dir, RingLimits(**settings.ring.model_dump()))
    return Curves(ring, WaveformKeeper(ring, measurements))


def recall(ring: WaveformRing, pipeline: BedPipeline, now_ns: int) -> None:
    """Let strips begin before this life did, and finish those that the last one left open."""
    kept = ring.read(TimestampNs(now_ns - _RECALLED_NS), TimestampNs(now_ns))
    if kept:
        pipeline.recall(sorted(kept, key=lambda chunk: chunk.start_time_ns))


def make_live_view(
    settings: EdgeSettings,
    boot_id: str,
    authority: Authority,
    send: Callable[[bytes], bool],
    clock_ns: Callable[[], int],
    measurements: Measurements,
    allowed: Callable[[], bool] = lambda: True,
) -> LiveView:
    """The only other way out for curves."""
    parts = LiveViewParts(
        device_id=settings.device_id,
        boot_id=boot_id,
        is_signed=authority.is_signed,
        holders=authority.holders,
        send=send,
        clock_ns=clock_ns,
        monotonic_ns=time.monotonic_ns,
        allowed=allowed,
    )
    return LiveView(parts, measurements)


def after_judgement(keeper: WaveformKeeper, live: LiveView) -> Callable[[WaveformChunk], None]:
    """What becomes of a judged chunk; the first one also tells how long the start took."""
    first = True

    def take(chunk: WaveformChunk) -> None:
        nonlocal first
        keeper.keep(chunk)
        live.show(chunk)
        if first:
            first = False
            fields = {"event": "first_judged", "since_start_s": round(process_age_s(), 3)}
            logger.info("the first samples are judged", extra={"fields": fields})

    return take
