"""IEEE 11073-10101 reference ids of what we measure, with their LOINC and their one unit.

The reference id (``MDC_...``) is the identity; LOINC is for record systems. LOINC codes were
taken from the public LOINC names of the same quantities; a quantity without a certain
counterpart has none rather than a near one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from wardstream.contracts.errors import UnknownSchemaError
from wardstream.contracts.units import Unit


class Modality(StrEnum):
    """What kind of curve a channel is; decides which kernels see it."""

    ECG = "ecg"
    PPG = "ppg"
    ARTERIAL_PRESSURE = "abp"
    CENTRAL_VENOUS_PRESSURE = "cvp"
    RESPIRATION = "resp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One quantity.

    Attributes
    ----------
    mdc : str
        IEEE 11073-10101 reference id.
    loinc : str or None
        LOINC code of the same quantity.
    unit : Unit
        The unit in which Wardstream carries it.
    label : str
        Short English name for people.
    modality : Modality or None
        Set for sampled curves, None for numerics.
    """

    mdc: str
    loinc: str | None
    unit: Unit
    label: str
    modality: Modality | None = None


def _ecg(lead: str, label: str) -> Code:
    return Code(
        mdc=f"MDC_ECG_ELEC_POTL_{lead}" if lead else "MDC_ECG_ELEC_POTL",
        loinc=None,
        unit=Unit.MILLIVOLT,
        label=label,
        modality=Modality.ECG,
    )


WAVEFORM_CODES: Final[tuple[Code, ...]] = (
    _ecg("", "ECG"),
    *(_ecg(lead, lead) for lead in ("I", "II", "III", "AVR", "AVL", "AVF", "V", "MCL")),
    *(_ecg(f"V{n}", f"V{n}") for n in range(1, 7)),
    # Recordings with two leads of unstated name need two codes; MDCX_ marks a private term.
    Code(
        mdc="MDCX_ECG_ELEC_POTL_2",
        loinc=None,
        unit=Unit.MILLIVOLT,
        label="ECG2",
        modality=Modality.ECG,
    ),
    Code(
        mdc="MDC_PULS_OXIM_PLETH",
        loinc=None,
        unit=Unit.ARBITRARY,
        label="PLETH",
        modality=Modality.PPG,
    ),
    Code(
        mdc="MDC_PRESS_BLD_ART",
        loinc=None,
        unit=Unit.MMHG,
        label="ABP",
        modality=Modality.ARTERIAL_PRESSURE,
    ),
    Code(
        mdc="MDC_PRESS_BLD_VEN_CENT",
        loinc=None,
        unit=Unit.MMHG,
        label="CVP",
        modality=Modality.CENTRAL_VENOUS_PRESSURE,
    ),
    Code(
        mdc="MDC_RESP", loinc=None, unit=Unit.ARBITRARY, label="RESP", modality=Modality.RESPIRATION
    ),
)

NUMERIC_CODES: Final[tuple[Code, ...]] = (
    Code(mdc="MDC_ECG_HEART_RATE", loinc="8867-4", unit=Unit.PER_MINUTE, label="HR"),
    Code(mdc="MDC_PULS_OXIM_PULS_RATE", loinc="8889-8", unit=Unit.PER_MINUTE, label="Pulse (SpO2)"),
    Code(mdc="MDC_BLD_PULS_RATE_INV", loinc=None, unit=Unit.PER_MINUTE, label="Pulse (ABP)"),
    Code(mdc="MDC_PULS_OXIM_SAT_O2", loinc="59408-5", unit=Unit.PERCENT, label="SpO2"),
    Code(mdc="MDC_PRESS_BLD_ART_SYS", loinc="76215-3", unit=Unit.MMHG, label="ABP systolic"),
    Code(mdc="MDC_PRESS_BLD_ART_DIA", loinc="76213-8", unit=Unit.MMHG, label="ABP diastolic"),
    Code(mdc="MDC_PRESS_BLD_ART_MEAN", loinc="76214-6", unit=Unit.MMHG, label="ABP mean"),
    Code(mdc="MDC_PRESS_BLD_NONINV_SYS", loinc="8480-6", unit=Unit.MMHG, label="NIBP systolic"),
    Code(mdc="MDC_PRESS_BLD_NONINV_DIA", loinc="8462-4", unit=Unit.MMHG, label="NIBP diastolic"),
    Code(mdc="MDC_RESP_RATE", loinc="9279-1", unit=Unit.PER_MINUTE, label="RR"),
    Code(mdc="MDC_TEMP", loinc="8310-5", unit=Unit.CELSIUS, label="Temp"),
    Code(
        mdc="MDC_CONC_GLU_ISF",
        loinc="99504-3",
        unit=Unit.MILLIGRAM_PER_DECILITRE,
        label="Glucose (tissue)",
    ),
)

_BY_MDC: Final[dict[str, Code]] = {code.mdc: code for code in (*WAVEFORM_CODES, *NUMERIC_CODES)}
_BY_LOINC: Final[dict[str, Code]] = {code.loinc: code for code in _BY_MDC.values() if code.loinc}


def code_by_mdc(mdc: str) -> Code:
    """The registered quantity with reference id `mdc`.

    Raises
    ------
    UnknownSchemaError
        It is not registered; the observation belongs in quarantine.
    """
    try:
        return _BY_MDC[mdc]
    except KeyError:
        raise UnknownSchemaError(
            f"code {mdc!r} is not registered in wardstream.contracts.codes"
        ) from None


def code_by_loinc(loinc: str) -> Code:
    """The registered quantity with LOINC code `loinc`.

    Raises
    ------
    UnknownSchemaError
        No registered quantity carries that LOINC code.
    """
    try:
        return _BY_LOINC[loinc]
    except KeyError:
        raise UnknownSchemaError(f"LOINC {loinc!r} has no registered MDC counterpart") from None
