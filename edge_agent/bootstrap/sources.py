"""Which frames a bed is fed with. What a source needs is imported when it is chosen."""

from pathlib import Path

from edge_agent.adapters.playback import Clocks, PlaybackPlan, PlaybackSource
from edge_agent.adapters.playback_blocks import FrameReader
from edge_agent.core.ports import WaveformSource
from edge_agent.settings import EdgeSettings
from edge_agent.settings.sources import EdfSettings, Live, SimulatorSettings, WfdbSettings


def open_source(settings: EdgeSettings, boot_id: str, clocks: Clocks) -> WaveformSource:
    """What the bed acquires from: a recording or simulated patient played, or live devices.

    Raises
    ------
    UnreadableSourceError
        There is nothing there that can be judged.
    ConfigurationError
        The library of a driver is not installed.
    """
    source = settings.source
    if isinstance(source, Live):
        from edge_agent.bootstrap.live_sources import live_source

        sections = (source, *settings.companions)
        return live_source(sections, settings.platform, settings.device_id, boot_id, clocks)
    plan = PlaybackPlan(
        device_id=settings.device_id,
        boot_id=boot_id,
        realtime=source.pace == "realtime",
        loop=source.loop,
        start_s=source.start_s,
        packet_ms=source.packet_ms,
        state_dir=settings.state_dir,
    )
    return PlaybackSource(open_reader(source), plan, clocks)


def open_reader(source: WfdbSettings | EdfSettings | SimulatorSettings) -> FrameReader:
    """The frames that are played. The library they need is imported here, when it is chosen.

    Raises
    ------
    UnreadableSourceError
        There is nothing there that can be judged.
    """
    if isinstance(source, SimulatorSettings):
        return simulated_patient(source.script, source.seed)
    if isinstance(source, EdfSettings):
        from edge_agent.adapters.edf_record import EdfReader

        return EdfReader(source.record)
    return recording(source.record)


def recording(record: Path) -> FrameReader:
    """Frames of the WFDB record at `record`.

    Raises
    ------
    UnreadableSourceError
        There is no such record, or nothing in it can be judged.
    """
    from edge_agent.adapters.wfdb_record import WfdbReader

    return WfdbReader(record)


def simulated_patient(script: Path | None, seed: int) -> FrameReader:
    """Frames of a patient who lives by `script`, at rest without one.

    Raises
    ------
    UnreadableSourceError
        The script cannot be read.
    """
    from edge_agent.adapters.scenario import Scenario, read_scenario
    from edge_agent.adapters.simulator import SimulatedPatient

    return SimulatedPatient(Scenario() if script is None else read_scenario(script), seed)
