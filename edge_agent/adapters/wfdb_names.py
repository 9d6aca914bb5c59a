"""Channel names and unit spellings of WFDB headers, as MDC codes and UCUM units.

A look-up, not a guess: what is not in these tables is quarantined with a reason.
"""

from dataclasses import dataclass
from typing import Final

from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.units import Unit, conversion

_ECG: Final = "MDC_ECG_ELEC_POTL"

CHANNELS: Final[dict[str, str]] = {
    # An ECG lead whose name the recording does not state (cudb, mghdb, vfdb).
    "ECG": _ECG,
    "ECG1": _ECG,
    "ECG2": "MDCX_ECG_ELEC_POTL_2",
    "I": f"{_ECG}_I",
    "II": f"{_ECG}_II",
    "III": f"{_ECG}_III",
    # Modified limb lead II: lead II with the electrodes on the torso (mitdb's directory).
    "MLII": f"{_ECG}_II",
    "AVR": f"{_ECG}_AVR",
    "aVR": f"{_ECG}_AVR",
    "AVL": f"{_ECG}_AVL",
    "aVL": f"{_ECG}_AVL",
    "AVF": f"{_ECG}_AVF",
    "aVF": f"{_ECG}_AVF",
    # A chest lead whose number the monitor does not state (MIMIC).
    "V": f"{_ECG}_V",
    **{f"V{n}": f"{_ECG}_V{n}" for n in range(1, 7)},
    "MCL": f"{_ECG}_MCL",
    "MCL1": f"{_ECG}_MCL",
    "PLETH": "MDC_PULS_OXIM_PLETH",
    "ABP": "MDC_PRESS_BLD_ART",
    "ART": "MDC_PRESS_BLD_ART",
    "CVP": "MDC_PRESS_BLD_VEN_CENT",
    "RESP": "MDC_RESP",
}
"""Signal description of a WFDB header -> reference id."""

UNITS: Final[dict[str, Unit]] = {
    "mV": Unit.MILLIVOLT,
    "uV": Unit.MICROVOLT,
    "mmHg": Unit.MMHG,
    "kPa": Unit.KILOPASCAL,
    "NU": Unit.ARBITRARY,  # "normalised units" of PhysioNet
}
"""Unit of a WFDB header -> UCUM. A header without a unit means mV (WFDB header(5))."""

UNSCALED_UNITS: Final = frozenset({"NU", "pm", "mV", "Ohm", "ohm"})
"""Spellings under which PPG and impedance respiration are stored. Neither has a scale that
means anything, so they are carried as arbitrary whichever of these the header states."""

_UNSCALED: Final = frozenset({Modality.PPG, Modality.RESPIRATION})


@dataclass(frozen=True, slots=True)
class Mapping:
    """How one channel is carried: ``carried = stored * scale + offset`` in `unit`."""

    code: str
    unit: Unit
    scale: float
    offset: float


def map_channel(name: str, unit: str) -> Mapping:
    """How the channel `name`, stored in `unit`, is carried.

    Raises
    ------
    OutOfRangeError
        The name or the unit is not in the tables, or the unit does not measure that quantity.
        The message is the quarantine's reason.
    """
    if name not in CHANNELS:
        raise OutOfRangeError(f"channel name {name!r} is not in the look-up of WFDB names")
    code = code_by_mdc(CHANNELS[name])
    if code.modality in _UNSCALED and unit in UNSCALED_UNITS:
        return Mapping(code.mdc, Unit.ARBITRARY, 1.0, 0.0)
    if unit not in UNITS:
        raise OutOfRangeError(f"unit {unit!r} is not in the look-up of WFDB spellings")
    scale, offset = conversion(UNITS[unit], code.unit)
    return Mapping(code.mdc, code.unit, scale, offset)
