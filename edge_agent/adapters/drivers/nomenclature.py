"""How devices write codes and units, and what that is here. A look-up, never a guess.

Codes are taken as reference id (``MDC_PULS_OXIM_SAT_O2``) or as the context-free number of
ISO/IEEE 11073-10101 (partition x 65536 + term); units as UCUM, MDC reference id or number.

Numbers are those of ISO/IEEE 11073-10101, annex A. All but those of MDC_BLD_PULS_RATE_INV and
MDC_DIM_MICRO_VOLT were found alike in public tables made from it: the IntelliVue data export
definitions that open-source monitors carry, constants of ISO/IEEE 11073-20601 stacks, and HL7
examples of IHE PCD.
"""

from dataclasses import dataclass
from typing import Final

from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.errors import OutOfRangeError, UnknownSchemaError
from wardstream.contracts.units import Unit, conversion, parse_unit

REFERENCE_IDS: Final[dict[int, str]] = {
    131328: "MDC_ECG_ELEC_POTL",
    131329: "MDC_ECG_ELEC_POTL_I",
    131330: "MDC_ECG_ELEC_POTL_II",
    131331: "MDC_ECG_ELEC_POTL_V1",
    131332: "MDC_ECG_ELEC_POTL_V2",
    131333: "MDC_ECG_ELEC_POTL_V3",
    131334: "MDC_ECG_ELEC_POTL_V4",
    131335: "MDC_ECG_ELEC_POTL_V5",
    131336: "MDC_ECG_ELEC_POTL_V6",
    131389: "MDC_ECG_ELEC_POTL_III",
    131390: "MDC_ECG_ELEC_POTL_AVR",
    131391: "MDC_ECG_ELEC_POTL_AVL",
    131392: "MDC_ECG_ELEC_POTL_AVF",
    131395: "MDC_ECG_ELEC_POTL_V",
    131403: "MDC_ECG_ELEC_POTL_MCL",
    147842: "MDC_ECG_HEART_RATE",
    149522: "MDC_BLD_PULS_RATE_INV",
    149530: "MDC_PULS_OXIM_PULS_RATE",
    150021: "MDC_PRESS_BLD_NONINV_SYS",
    150022: "MDC_PRESS_BLD_NONINV_DIA",
    150032: "MDC_PRESS_BLD_ART",
    150036: "MDC_PRESS_BLD_ART",
    150033: "MDC_PRESS_BLD_ART_SYS",
    150034: "MDC_PRESS_BLD_ART_DIA",
    150035: "MDC_PRESS_BLD_ART_MEAN",
    150037: "MDC_PRESS_BLD_ART_SYS",
    150038: "MDC_PRESS_BLD_ART_DIA",
    150039: "MDC_PRESS_BLD_ART_MEAN",
    150084: "MDC_PRESS_BLD_VEN_CENT",
    150344: "MDC_TEMP",
    150452: "MDC_PULS_OXIM_PLETH",
    150456: "MDC_PULS_OXIM_SAT_O2",
    151552: "MDC_RESP",
    151562: "MDC_RESP_RATE",
    160212: "MDC_CONC_GLU_ISF",
}
"""Context-free number -> reference id, of what is registered in `wardstream.contracts.codes`.

150036 to 150039 are MDC_PRESS_BLD_ART_ABP and its values, as in `SYNONYMS`."""

SYNONYMS: Final[dict[str, str]] = {
    # The arterial line by its use: the same quantity, as 11073-10101 lists them side by side.
    "MDC_PRESS_BLD_ART_ABP": "MDC_PRESS_BLD_ART",
    "MDC_PRESS_BLD_ART_ABP_SYS": "MDC_PRESS_BLD_ART_SYS",
    "MDC_PRESS_BLD_ART_ABP_DIA": "MDC_PRESS_BLD_ART_DIA",
    "MDC_PRESS_BLD_ART_ABP_MEAN": "MDC_PRESS_BLD_ART_MEAN",
    "MDC_TTHOR_RESP_RATE": "MDC_RESP_RATE",
    "MDC_ECG_CARD_BEAT_RATE": "MDC_ECG_HEART_RATE",
}
"""Reference ids carried under another one."""

MDC_UNITS: Final[dict[str, Unit]] = {
    "MDC_DIM_DIMLESS": Unit.ARBITRARY,
    "MDC_DIM_PERCENT": Unit.PERCENT,
    "MDC_DIM_BEAT_PER_MIN": Unit.PER_MINUTE,
    "MDC_DIM_RESP_PER_MIN": Unit.PER_MINUTE,
    "MDC_DIM_PULS_PER_MIN": Unit.PER_MINUTE,
    "MDC_DIM_PER_MIN": Unit.PER_MINUTE,
    "MDC_DIM_KILO_PASCAL": Unit.KILOPASCAL,
    "MDC_DIM_MMHG": Unit.MMHG,
    "MDC_DIM_MILLI_VOLT": Unit.MILLIVOLT,
    "MDC_DIM_MICRO_VOLT": Unit.MICROVOLT,
    "MDC_DIM_FAHR": Unit.FAHRENHEIT,
    "MDC_DIM_DEGC": Unit.CELSIUS,
    "MDC_DIM_MILLI_G_PER_DL": Unit.MILLIGRAM_PER_DECILITRE,
    "MDC_DIM_MILLI_MOLE_PER_L": Unit.MILLIMOLE_PER_LITRE,
}
"""Reference id of a dimension -> UCUM."""

UNIT_NUMBERS: Final[dict[int, str]] = {
    262656: "MDC_DIM_DIMLESS",
    262688: "MDC_DIM_PERCENT",
    264274: "MDC_DIM_MILLI_G_PER_DL",
    264864: "MDC_DIM_BEAT_PER_MIN",
    264928: "MDC_DIM_RESP_PER_MIN",
    265987: "MDC_DIM_KILO_PASCAL",
    266016: "MDC_DIM_MMHG",
    266418: "MDC_DIM_MILLI_VOLT",
    266419: "MDC_DIM_MICRO_VOLT",
    266560: "MDC_DIM_FAHR",
    266866: "MDC_DIM_MILLI_MOLE_PER_L",
    268192: "MDC_DIM_DEGC",
}
"""Context-free number -> reference id of a dimension."""

_SPELLINGS: Final[dict[str, Unit]] = {
    "{beats}/min": Unit.BEATS_PER_MINUTE,
    "{breath}/min": Unit.PER_MINUTE,
    "{breaths}/min": Unit.PER_MINUTE,
}
"""Other annotations of UCUM: what stands in braces has no meaning in UCUM (section 2.4)."""

GLUCOSE_MG_PER_MMOL: Final = 18.0156
"""Molar mass of glucose, 180.156 g/mol: the one substance whose moles are converted here."""

_GLUCOSE: Final = "MDC_CONC_GLU_ISF"


@dataclass(frozen=True, slots=True)
class Carried:
    """How a channel is carried: ``carried = stated * scale + offset`` in `unit`."""

    code: str
    unit: Unit
    scale: float
    offset: float


def find_code(text: str) -> str:
    """Registered reference id of the code `text`, written as id or as number.

    Raises
    ------
    UnknownSchemaError
        It is not in the look-up.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        number = int(text)
        if number not in REFERENCE_IDS:
            raise UnknownSchemaError(f"code number {number} is not in the look-up")
        return REFERENCE_IDS[number]
    return code_by_mdc(SYNONYMS.get(text, text)).mdc


def find_unit(text: str) -> Unit:
    """Unit of `text`, written in UCUM, as MDC id or as MDC number.

    Raises
    ------
    UnknownSchemaError
        It is not in the look-up, or nothing is stated.
    """
    text = text.strip()
    if not text:
        raise UnknownSchemaError("no unit is stated")
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) in UNIT_NUMBERS:
        text = UNIT_NUMBERS[int(text)]
    if text in MDC_UNITS:
        return MDC_UNITS[text]
    return _SPELLINGS.get(text) or parse_unit(text)


def carry(code_text: str, unit_text: str) -> Carried:
    """How the channel of code `code_text` stated in `unit_text` is carried.

    Raises
    ------
    UnknownSchemaError
        Code or unit is not in the look-up. The message is the quarantine's reason.
    OutOfRangeError
        The unit does not measure that quantity.
    """
    code = code_by_mdc(find_code(code_text))
    unit = find_unit(unit_text)
    if code.mdc == _GLUCOSE and unit is Unit.MILLIMOLE_PER_LITRE:
        return Carried(code.mdc, code.unit, GLUCOSE_MG_PER_MMOL, 0.0)
    if code.unit is Unit.ARBITRARY and unit is Unit.DIMENSIONLESS:
        return Carried(code.mdc, code.unit, 1.0, 0.0)
    try:
        scale, offset = conversion(unit, code.unit)
    except OutOfRangeError as error:
        raise OutOfRangeError(f"{code.mdc}: {error}") from error
    return Carried(code.mdc, code.unit, scale, offset)
