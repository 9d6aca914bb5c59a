"""Numerics as devices state them, checked and carried in the unit of their code."""

import math
import re
from typing import Final

from edge_agent.adapters.drivers.nomenclature import carry
from edge_agent.core.arrivals import NumericArrival
from wardstream.contracts.errors import OutOfRangeError

POSSIBLE: Final[dict[str, tuple[float, float]]] = {
    "MDC_ECG_HEART_RATE": (0, 400),
    "MDC_PULS_OXIM_PULS_RATE": (0, 400),
    "MDC_BLD_PULS_RATE_INV": (0, 400),
    "MDC_PULS_OXIM_SAT_O2": (0, 100),
    "MDC_PRESS_BLD_ART_SYS": (-50, 400),
    "MDC_PRESS_BLD_ART_DIA": (-50, 400),
    "MDC_PRESS_BLD_ART_MEAN": (-50, 400),
    "MDC_PRESS_BLD_NONINV_SYS": (0, 400),
    "MDC_PRESS_BLD_NONINV_DIA": (0, 400),
    "MDC_RESP_RATE": (0, 200),
    "MDC_TEMP": (10, 50),
    "MDC_CONC_GLU_ISF": (0, 2000),
}
"""What a value may be, in the unit of its code: wider than any patient, narrower than an error."""

_NUMBER: Final = re.compile(r"[+-]?(\d{1,12}(\.\d{0,12})?|\.\d{1,12})")


def parse_number(text: str) -> float:
    """The number `text` states: digits, sign and a point, as HL7's NM has it.

    Raises
    ------
    OutOfRangeError
        It is no such number (``1e5``, ``1,5``, ``>90``, other digits).
    """
    if not text.isascii() or _NUMBER.fullmatch(text) is None:
        raise OutOfRangeError("a value is no number of digits, sign and point")
    return float(text)


def numeric(
    code_text: str,
    unit_text: str,
    value: float,
    arrived_ns: int,
    device_time_ns: int | None = None,
    *,
    clock_is_utc: bool = False,
) -> NumericArrival:
    """The arrival of `value` as stated, in the unit of its code; NaN where there is none.

    Raises
    ------
    ContractError
        Code or unit is unknown or they do not fit, it is a curve, or no patient has that value.
    """
    carried = carry(code_text, unit_text)
    if carried.code not in POSSIBLE:
        raise OutOfRangeError(f"{carried.code} is a curve, not a numeric")
    converted = value * carried.scale + carried.offset
    low, high = POSSIBLE[carried.code]
    if not math.isnan(converted) and not low <= converted <= high:
        raise OutOfRangeError(
            f"{carried.code} is outside {low:g} to {high:g} {carried.unit.value}: impossible"
        )
    return NumericArrival(
        code=carried.code,
        value=converted,
        unit=carried.unit,
        arrived_ns=arrived_ns,
        device_time_ns=device_time_ns,
        clock_is_utc=clock_is_utc,
    )
