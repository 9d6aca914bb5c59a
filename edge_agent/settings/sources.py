"""What a bed acquires from: one section for each kind of source."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the settings: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Playback(Section):
    """How a recording is played."""

    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = False
    start_s: Annotated[float, Field(ge=0)] = 0.0
    packet_ms: Annotated[int, Field(ge=10, le=1000)] = 40


class WfdbSettings(Playback):
    """A recording, played as a device would deliver it."""

    kind: Literal["wfdb"]
    record: Path = Field(description="path of the record, without extension")


class EdfSettings(Playback):
    """An EDF or EDF+C recording, played as a device would deliver it."""

    kind: Literal["edf"]
    record: Path = Field(description="path of the .edf file")


class SimulatorSettings(Playback):
    """A simulated patient."""

    kind: Literal["simulator"]
    script: Path | None = Field(default=None, description="YAML scenario; without it, at rest")
    seed: Annotated[int, Field(ge=0)] = 0


SourceSettings = Annotated[
    WfdbSettings | EdfSettings | SimulatorSettings, Field(discriminator="kind")
]

SECTIONS: Final[tuple[type[BaseModel], ...]] = (WfdbSettings, EdfSettings, SimulatorSettings)
"""Every kind of source."""

KINDS: Final = ("wfdb", "edf", "simulator")
"""Their names, which pydantic puts into the path of a problem."""
