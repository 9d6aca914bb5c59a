"""What was observed of many patients, laid end to end so that one compiled loop reads it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import OutOfRangeError
from wardstream.inference.deterioration.parameters import PARAMETERS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Histories:
    """Observations of n patients, by patient, quantity and time.

    Attributes
    ----------
    offsets : ndarray of int64, shape (n_patients * n_parameters + 1,)
        Observations of quantity j of patient i are ``offsets[i * n_parameters + j]`` up to the
        next offset.
    times_h : ndarray of float64, shape (n_observations,)
        Hours since the stay began, rising within each quantity of a patient.
    values : ndarray of float64, shape (n_observations,)
        In the unit of the quantity; all can be (see `Parameter`).
    """

    offsets: Integers
    times_h: Floats
    values: Floats

    def __len__(self) -> int:
        return (len(self.offsets) - 1) // len(PARAMETERS)


def histories_of(
    n_patients: int,
    patient: Integers,
    parameter: Integers,
    times_h: Floats,
    values: Floats,
) -> Histories:
    """Observations in any order as `Histories`; a value that cannot be is left out.

    Parameters
    ----------
    n_patients : int
        Patients, those without any observation included.
    patient, parameter : ndarray of int64, shape (n,)
        Whose, and which of `PARAMETERS`.
    times_h, values : ndarray of float64, shape (n,)
        When, and how much.

    Raises
    ------
    OutOfRangeError
        A patient or quantity does not exist, or a time is not a number.
    """
    n_parameters = len(PARAMETERS)
    for name, index, size in (
        ("patient", patient, n_patients),
        ("parameter", parameter, n_parameters),
    ):
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
            raise OutOfRangeError(f"{name} numbers must lie in [0, {size})")
    if not np.isfinite(times_h).all():
        raise OutOfRangeError("times_h holds a time that is not a number")
    lowest = np.array([p.lowest for p in PARAMETERS])[parameter]
    highest = np.array([p.highest for p in PARAMETERS])[parameter]
    can_be = (values >= lowest) & (values <= highest)
    cell = (patient * n_parameters + parameter)[can_be]
    order = np.lexsort((times_h[can_be], cell))
    return Histories(
        offsets=np.searchsorted(cell[order], np.arange(n_patients * n_parameters + 1)),
        times_h=np.ascontiguousarray(times_h[can_be][order], dtype=np.float64),
        values=np.ascontiguousarray(values[can_be][order], dtype=np.float64),
    )
