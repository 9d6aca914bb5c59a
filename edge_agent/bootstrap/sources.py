"""Which frames a bed is fed with. What a source needs is imported when it is chosen."""

from pathlib import Path

from edge_agent.adapters.playback_blocks import FrameReader
from edge_agent.settings import EdgeSettings
from edge_agent.settings.sources import EdfSettings, SimulatorSettings


def open_reader(settings: EdgeSettings) -> FrameReader:
    """The source's frames. The library it needs is imported here, when it is chosen.

    Raises
    ------
    UnreadableSourceError
        There is nothing there that can be judged.
    """
    source = settings.source
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
