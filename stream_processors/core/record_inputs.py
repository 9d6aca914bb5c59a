"""What of the record's observations the deterioration score takes, in its own quantities and units.

An observation is taken only in the unit its concept is stored in; any other is left alone.
"""

from dataclasses import dataclass
from typing import Final

from wardstream.inference.deterioration.parameters import column


@dataclass(frozen=True, slots=True)
class RecordInput:
    """One concept of the record.

    Attributes
    ----------
    unit : str
        UCUM unit it is stored in.
    parameter : int
        Which quantity of the score it is.
    factor : float
        From that unit to the quantity's.
    """

    unit: str
    parameter: int
    factor: float


def _input(unit: str, name: str, factor: float = 1.0) -> RecordInput:
    return RecordInput(unit, column(name), factor)


_UREA_N_MG_PER_DL: Final = 2.8014
"""mg/dL of nitrogen in 1 mmol/L of urea: two atoms of 14.007 g/mol."""

RECORD_INPUTS: Final = {
    "weight": _input("kg", "weight_kg"),
    "height": _input("cm", "height_cm"),
    "respiration-rate": _input("/min", "respiration_rate_per_min"),
    "temperature": _input("Cel", "temperature_celsius"),
    "systolic-pressure-noninvasive": _input("mm[Hg]", "systolic_mmhg"),
    "diastolic-pressure-noninvasive": _input("mm[Hg]", "diastolic_mmhg"),
    "mean-pressure-noninvasive": _input("mm[Hg]", "mean_pressure_mmhg"),
    "glasgow-coma-scale": _input("{score}", "glasgow_coma_score"),
    "urine-volume": _input("mL", "urine_ml"),
    "inspired-oxygen": _input("%", "fio2_share", 0.01),
    "creatinine": _input("umol/L", "creatinine_mg_per_dl", 113.12e-4),
    "urea": _input("mmol/L", "urea_nitrogen_mg_per_dl", _UREA_N_MG_PER_DL),
    "glucose": _input("mmol/L", "glucose_mg_per_dl", 18.016),
    "potassium": _input("mmol/L", "potassium_mmol_per_l"),
    "sodium": _input("mmol/L", "sodium_mmol_per_l"),
    "bicarbonate": _input("mmol/L", "bicarbonate_mmol_per_l"),
    "lactate": _input("mmol/L", "lactate_mmol_per_l"),
    "bilirubin-total": _input("umol/L", "bilirubin_mg_per_dl", 584.66e-4),
    "albumin": _input("g/L", "albumin_g_per_dl", 0.1),
    "alanine-aminotransferase": _input("U/L", "alanine_transaminase_u_per_l"),
    "aspartate-aminotransferase": _input("U/L", "aspartate_transaminase_u_per_l"),
    "alkaline-phosphatase": _input("U/L", "alkaline_phosphatase_u_per_l"),
    "troponin-t": _input("ug/L", "troponin_t_ug_per_l"),
    "haematocrit": _input("%", "haematocrit_percent"),
    "leukocytes": _input("10*9/L", "white_cells_per_nl"),
    "platelets": _input("10*9/L", "platelets_per_nl"),
    "ph": _input("[pH]", "ph"),
    "pco2": _input("mm[Hg]", "carbon_dioxide_mmhg"),
    "po2": _input("mm[Hg]", "oxygen_mmhg"),
}
"""By the name of the concept (``stream_processors/knowledge``)."""


@dataclass(frozen=True, slots=True)
class Stated:
    """One usable observation of the record.

    Attributes
    ----------
    row : int
        Which question it is for.
    parameter : int
        Which quantity.
    hours_ago : float
        0 or more.
    value : float
        In the quantity's unit.
    """

    row: int
    parameter: int
    hours_ago: float
    value: float


def stated(
    row: int, concept: str, unit: str | None, hours_ago: float, value: float
) -> Stated | None:
    """An observation as an input; None for a concept or unit that is not taken."""
    found = RECORD_INPUTS.get(concept)
    if found is None or unit != found.unit:
        return None
    return Stated(row, found.parameter, hours_ago, value * found.factor)
