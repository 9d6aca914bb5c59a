"""What the deterioration score looks at: quantities, their kinds, and what a value can be."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class Modality(StrEnum):
    """Where a quantity comes from; any of them may be missing."""

    DEMOGRAPHICS = "demographics"
    VITALS = "vitals"
    """What a monitor measures by itself."""
    CHARTED = "charted"
    """What a nurse assesses or sets: consciousness, urine, oxygen, ventilation."""
    LABS = "labs"


class Kind(IntEnum):
    """How several values of one hour become one."""

    STATIC = 0
    """Once a stay: the first value stands."""
    MEAN = 1
    SUM = 2
    """An amount: values of an hour add up."""
    PRESENT = 3
    """Only whether it was noted."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One quantity.

    Attributes
    ----------
    name : str
        With its unit, as everywhere.
    modality : Modality
        Where it comes from.
    kind : Kind
        How values of an hour become one.
    lowest, highest : float
        What a value can be, both included; anything else is not used. Wider than what is
        survived, so that a slip is left out and an extreme is kept.
    """

    name: str
    modality: Modality
    kind: Kind
    lowest: float
    highest: float


_D, _V, _C, _L = Modality.DEMOGRAPHICS, Modality.VITALS, Modality.CHARTED, Modality.LABS

PARAMETERS: Final = (
    Parameter("age_years", _D, Kind.STATIC, 14, 120),
    Parameter("male", _D, Kind.STATIC, 0, 1),
    Parameter("height_cm", _D, Kind.STATIC, 100, 230),
    Parameter("weight_kg", _D, Kind.STATIC, 25, 350),
    Parameter("unit_type", _D, Kind.STATIC, 1, 4),
    Parameter("heart_rate_per_min", _V, Kind.MEAN, 10, 300),
    Parameter("respiration_rate_per_min", _V, Kind.MEAN, 1, 100),
    Parameter("spo2_percent", _V, Kind.MEAN, 20, 100),
    Parameter("temperature_celsius", _V, Kind.MEAN, 25, 45),
    Parameter("systolic_mmhg", _V, Kind.MEAN, 20, 300),
    Parameter("diastolic_mmhg", _V, Kind.MEAN, 10, 250),
    Parameter("mean_pressure_mmhg", _V, Kind.MEAN, 15, 280),
    Parameter("glasgow_coma_score", _C, Kind.MEAN, 3, 15),
    Parameter("urine_ml", _C, Kind.SUM, 0, 3000),
    Parameter("fio2_share", _C, Kind.MEAN, 0.2, 1),
    Parameter("ventilated", _C, Kind.PRESENT, 1, 1),
    Parameter("albumin_g_per_dl", _L, Kind.MEAN, 0.5, 7),
    Parameter("alkaline_phosphatase_u_per_l", _L, Kind.MEAN, 5, 5000),
    Parameter("alanine_transaminase_u_per_l", _L, Kind.MEAN, 1, 30000),
    Parameter("aspartate_transaminase_u_per_l", _L, Kind.MEAN, 1, 30000),
    Parameter("bilirubin_mg_per_dl", _L, Kind.MEAN, 0.05, 80),
    Parameter("urea_nitrogen_mg_per_dl", _L, Kind.MEAN, 1, 300),
    Parameter("creatinine_mg_per_dl", _L, Kind.MEAN, 0.1, 30),
    Parameter("glucose_mg_per_dl", _L, Kind.MEAN, 10, 1500),
    Parameter("bicarbonate_mmol_per_l", _L, Kind.MEAN, 3, 60),
    Parameter("haematocrit_percent", _L, Kind.MEAN, 8, 70),
    Parameter("potassium_mmol_per_l", _L, Kind.MEAN, 1.5, 12),
    Parameter("lactate_mmol_per_l", _L, Kind.MEAN, 0.1, 35),
    Parameter("sodium_mmol_per_l", _L, Kind.MEAN, 95, 190),
    Parameter("carbon_dioxide_mmhg", _L, Kind.MEAN, 8, 150),
    Parameter("oxygen_mmhg", _L, Kind.MEAN, 15, 700),
    Parameter("ph", _L, Kind.MEAN, 6.5, 8),
    Parameter("platelets_per_nl", _L, Kind.MEAN, 2, 2500),
    Parameter("troponin_t_ug_per_l", _L, Kind.MEAN, 0, 30),
    Parameter("white_cells_per_nl", _L, Kind.MEAN, 0.05, 400),
)
"""In the order of the columns of a history."""

NAMES: Final = tuple(parameter.name for parameter in PARAMETERS)


def column(name: str) -> int:
    """Position of the quantity called `name`.

    Raises
    ------
    ValueError
        There is none.
    """
    return NAMES.index(name)
