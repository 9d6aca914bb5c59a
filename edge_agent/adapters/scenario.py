"""Scripted crises for the simulated patient, as data: ``firmware_configs/scenarios/*.yaml``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec
import yaml

from edge_agent.core.ports import UnreadableSourceError

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Crisis(StrEnum):
    """What can happen to the simulated patient or to the equipment."""

    VENTRICULAR_FIBRILLATION = "ventricular_fibrillation"
    VENTRICULAR_TACHYCARDIA = "ventricular_tachycardia"
    ASYSTOLE = "asystole"
    BRADYCARDIA = "bradycardia"
    TACHYCARDIA = "tachycardia"
    ATRIAL_FIBRILLATION = "atrial_fibrillation"
    DESATURATION = "desaturation"
    HYPOTENSION = "hypotension"
    LEAD_OFF = "lead_off"
    MOTION = "motion"
    NO_DATA = "no_data"


RHYTHMS: Final = (
    Crisis.VENTRICULAR_FIBRILLATION,
    Crisis.VENTRICULAR_TACHYCARDIA,
    Crisis.ASYSTOLE,
    Crisis.BRADYCARDIA,
    Crisis.TACHYCARDIA,
    Crisis.ATRIAL_FIBRILLATION,
)
"""Crises of the heart's rhythm; of two at once the one that began later holds."""


class Patient(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The patient at rest."""

    heart_rate_per_min: Annotated[float, msgspec.Meta(ge=20, le=220)] = 74.0
    respiration_rate_per_min: Annotated[float, msgspec.Meta(ge=4, le=60)] = 14.0
    systolic_mmhg: Annotated[float, msgspec.Meta(ge=40, le=260)] = 122.0
    diastolic_mmhg: Annotated[float, msgspec.Meta(ge=20, le=160)] = 72.0
    spo2_percent: Annotated[float, msgspec.Meta(ge=50, le=100)] = 97.0
    temperature_celsius: Annotated[float, msgspec.Meta(ge=28, le=43)] = 37.0


class Event(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One crisis."""

    crisis: Crisis
    at_s: NotNegative
    for_s: Positive


class Scenario(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A simulated patient's script; it begins again every `repeat_s` seconds, 0: never."""

    title: str = "a patient at rest"
    patient: Patient = Patient()
    repeat_s: NotNegative = 0.0
    events: tuple[Event, ...] = ()

    def active(self, time_s: float) -> dict[Crisis, float]:
        """Crises at second `time_s`, with the second at which each began."""
        lap_s = time_s % self.repeat_s if self.repeat_s else time_s
        return {
            event.crisis: time_s - (lap_s - event.at_s)
            for event in self.events
            if event.at_s <= lap_s < event.at_s + event.for_s
        }


def read_scenario(path: Path) -> Scenario:
    """The scenario in the YAML file at `path`.

    Raises
    ------
    UnreadableSourceError
        It cannot be read, or says something that a scenario cannot; the message names it.
    """
    try:
        scenario = msgspec.convert(yaml.safe_load(path.read_text()), Scenario)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise UnreadableSourceError(f"scenario {path}: {error}") from error
    late = [e.crisis for e in scenario.events if scenario.repeat_s and e.at_s >= scenario.repeat_s]
    if late:
        raise UnreadableSourceError(f"scenario {path}: {late} begin after repeat_s")
    return scenario
