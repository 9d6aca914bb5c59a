"""Other limits without a restart: SIGHUP reads the settings again, and no sample is missed."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from edge_agent.adapters.outbox import SqliteOutbox
from edge_agent.adapters.waveform_ring import RingLimits, WaveformRing
from edge_agent.bootstrap.judgement import pipeline_config
from edge_agent.core.outbox_port import OutboxLimits
from edge_agent.core.pipeline import BedPipeline
from edge_agent.settings import EdgeSettings
from wardstream.contracts.errors import ConfigurationError, WardstreamError

logger = logging.getLogger(__name__)

_AT_ONCE: Final = ("judgement", "outbox", "ring", "log_level")
"""Settings that are put in force while the bed is watched."""

_FIXED_JUDGEMENT: Final = ("strip_before_s", "strip_after_s", "no_data_after_s")


class Reload:
    """Puts what may change in force, and says what would need a restart.

    Parameters
    ----------
    settings : EdgeSettings
        In force now.
    read : callable
        Reads them again; raises `ConfigurationError` with every problem.
    pipeline, outbox, ring
        What follows them.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        read: Callable[[], EdgeSettings],
        pipeline: BedPipeline,
        outbox: SqliteOutbox,
        ring: WaveformRing,
    ) -> None:
        self._settings = settings
        self._read = read
        self._pipeline = pipeline
        self._outbox = outbox
        self._ring = ring
        self._running: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        """Read and apply, beside the bed; called on the event loop."""
        task = asyncio.create_task(self._again(), name="reload")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _again(self) -> None:
        try:
            wanted = await asyncio.to_thread(self._read)
            await asyncio.to_thread(self._apply_to_disk, wanted)
            self._apply(wanted)
        except ConfigurationError as error:
            for problem in error.problems:
                logger.error("nothing was changed: %s", problem)
        except WardstreamError as error:
            logger.error("nothing was changed: %s", error)

    def _apply_to_disk(self, wanted: EdgeSettings) -> None:
        # Both wait for a write that is under way, so not on the event loop.
        self._outbox.limit(OutboxLimits(**wanted.outbox.model_dump()))
        self._ring.limit(RingLimits(**wanted.ring.model_dump()))

    def _apply(self, wanted: EdgeSettings) -> None:
        config = pipeline_config(wanted)
        self._pipeline.set_site_limits(config.all_limits)
        logging.getLogger().setLevel(wanted.log_level.upper())
        changed = _differences(self._settings, wanted)
        waiting = [name for name in changed if not _is_at_once(name)]
        self._settings = wanted
        logger.warning(
            "limits were read again; changed: %s",
            ", ".join(name for name in changed if name not in waiting) or "nothing",
            extra={"fields": {"event": "reloaded", "changed": changed}},
        )
        if waiting:
            logger.warning("a restart is needed for: %s", ", ".join(waiting))


def _is_at_once(name: str) -> bool:
    section, _, key = name.partition(".")
    return section in _AT_ONCE and key not in _FIXED_JUDGEMENT


def _differences(before: EdgeSettings, after: EdgeSettings) -> list[str]:
    found: list[str] = []
    old, new = before.model_dump(), after.model_dump()
    for section, value in new.items():
        if isinstance(value, dict) and isinstance(old[section], dict):
            found.extend(f"{section}.{key}" for key in value if value[key] != old[section].get(key))
        elif value != old[section]:
            found.append(section)
    return found
