"""PhysioNet/CinC Challenge 2012: the first 48 hours of 8000 stays, and whether they ended well.

Silva et al., Computing in Cardiology 39:245-248 (2012). A patient is one stay here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.deterioration.history import Histories, histories_of
from wardstream.inference.deterioration.parameters import column

SETS: Final = ("a", "b", "c")
OUTCOME: Final = "In-hospital_death"
CLASSICAL: Final = ("SAPS-I", "SOFA")
_COLUMNS: Final = ("RecordID", "Time", "Parameter", "Value")

_NAMES: Final = {
    "Age": "age_years",
    "Gender": "male",
    "Height": "height_cm",
    "Weight": "weight_kg",
    "ICUType": "unit_type",
    "HR": "heart_rate_per_min",
    "RespRate": "respiration_rate_per_min",
    "SaO2": "spo2_percent",
    "Temp": "temperature_celsius",
    "SysABP": "systolic_mmhg",
    "DiasABP": "diastolic_mmhg",
    "MAP": "mean_pressure_mmhg",
    "NISysABP": "systolic_mmhg",
    "NIDiasABP": "diastolic_mmhg",
    "NIMAP": "mean_pressure_mmhg",
    "GCS": "glasgow_coma_score",
    "Urine": "urine_ml",
    "FiO2": "fio2_share",
    "MechVent": "ventilated",
    "Albumin": "albumin_g_per_dl",
    "ALP": "alkaline_phosphatase_u_per_l",
    "ALT": "alanine_transaminase_u_per_l",
    "AST": "aspartate_transaminase_u_per_l",
    "Bilirubin": "bilirubin_mg_per_dl",
    "BUN": "urea_nitrogen_mg_per_dl",
    "Creatinine": "creatinine_mg_per_dl",
    "Glucose": "glucose_mg_per_dl",
    "HCO3": "bicarbonate_mmol_per_l",
    "HCT": "haematocrit_percent",
    "K": "potassium_mmol_per_l",
    "Lactate": "lactate_mmol_per_l",
    "Na": "sodium_mmol_per_l",
    "PaCO2": "carbon_dioxide_mmhg",
    "PaO2": "oxygen_mmhg",
    "pH": "ph",
    "Platelets": "platelets_per_nl",
    "TroponinT": "troponin_t_ug_per_l",
    "WBC": "white_cells_per_nl",
}
"""Its words and ours. Magnesium is left out: the unit it is said to be in cannot be right."""


@dataclass(frozen=True, slots=True, eq=False)
class Stays:
    """Stays with what was observed and how they ended.

    Attributes
    ----------
    record : ndarray of str, shape (n,)
        RecordID.
    died : ndarray of float64, shape (n,)
        1 died in hospital, 0 left it alive, NaN not said.
    histories : Histories
        Observations, hours since admission.
    classical : mapping of str to ndarray of float64, shape (n,)
        SAPS-I and SOFA as the challenge gives them, NaN where it does not.
    """

    record: NDArray[np.str_]
    died: NDArray[np.float64]
    histories: Histories
    classical: Mapping[str, NDArray[np.float64]]


def read_stays(folder: Path) -> Stays:
    """Every set that is in `folder` (``set-a.csv.xz`` or ``.csv``, ``Outcomes-a.txt``).

    Raises
    ------
    ConfigurationError
        There is none, or a table lacks its columns.
    """
    import pandas as pd

    tables: list[Any] = []
    outcomes: list[Any] = []
    for name in SETS:
        files = (folder / f"set-{name}.csv.xz", folder / f"set-{name}.csv")
        tables.extend(_read(path, _COLUMNS) for path in files if path.exists())
        path = folder / f"Outcomes-{name}.txt"
        if path.exists():
            outcomes.append(_read(path, ("RecordID", OUTCOME)))
    if not tables:
        raise ConfigurationError([f"{folder} holds no set-a.csv.xz, set-b.csv.xz (--data)"])
    table: Any = pd.concat(tables, ignore_index=True)
    record, patient = np.unique(table["RecordID"].to_numpy(), return_inverse=True)
    ours = table["Parameter"].map({theirs: column(name) for theirs, name in _NAMES.items()})
    known = ours.notna().to_numpy() & table["Value"].notna().to_numpy()
    clock = table["Time"].astype("string").str.split(":", expand=True).astype(float).to_numpy()
    said: Any = pd.concat(outcomes).set_index("RecordID") if outcomes else pd.DataFrame()
    said = said.reindex(index=record, columns=[OUTCOME, *CLASSICAL])

    def column_of(name: str) -> NDArray[np.float64]:
        found = said[name].to_numpy(dtype=np.float64)
        return np.where(found >= 0, found, np.nan)

    return Stays(
        record=record.astype(np.str_),
        died=column_of(OUTCOME),
        classical={name: column_of(name) for name in CLASSICAL},
        histories=histories_of(
            len(record),
            patient[known].astype(np.int64),
            ours.to_numpy()[known].astype(np.int64),
            (clock[:, 0] + clock[:, 1] / 60)[known],
            table["Value"].to_numpy(dtype=np.float64)[known],
        ),
    )


def _read(path: Path, columns: tuple[str, ...]) -> Any:
    import pandas as pd

    table: Any = pd.read_csv(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ConfigurationError([f"{path} has no column {', '.join(missing)}"])
    return table
