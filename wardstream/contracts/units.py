"""UCUM units, and the few conversions that are exact. A unit is never guessed."""

from enum import StrEnum

from wardstream.contracts.errors import OutOfRangeError, UnknownSchemaError


class Unit(StrEnum):
    """A unit by its UCUM code, case-sensitive (https://ucum.org, table of codes)."""

    DIMENSIONLESS = "1"
    MILLIVOLT = "mV"
    MICROVOLT = "uV"
    MMHG = "mm[Hg]"
    KILOPASCAL = "kPa"
    PER_MINUTE = "/min"
    PERCENT = "%"
    CELSIUS = "Cel"
    FAHRENHEIT = "[degF]"
    SECOND = "s"
    MILLISECOND = "ms"
    MICROSECOND = "us"
    OHM = "Ohm"
    ARBITRARY = "[arb'U]"
    """Arbitrary unit: a photoplethysmogram has no absolute scale."""
    COUNT = "{count}"
    BEATS_PER_MINUTE = "{beat}/min"
    MILLIGRAM_PER_DECILITRE = "mg/dL"
    MILLIMOLE_PER_LITRE = "mmol/L"
    """Not converted here: moles of what? A driver that knows the substance does it."""


# (from, to) -> (scale, offset): to_value = value * scale + offset.
# mmHg: UCUM defines m[Hg] as 133.322 kPa. Fahrenheit: exact by definition.
_AFFINE: dict[tuple[Unit, Unit], tuple[float, float]] = {
    (Unit.MICROVOLT, Unit.MILLIVOLT): (1e-3, 0.0),
    (Unit.KILOPASCAL, Unit.MMHG): (1 / 0.133322, 0.0),
    (Unit.FAHRENHEIT, Unit.CELSIUS): (5 / 9, -160 / 9),
    (Unit.MILLISECOND, Unit.SECOND): (1e-3, 0.0),
    (Unit.MICROSECOND, Unit.MILLISECOND): (1e-3, 0.0),
    (Unit.BEATS_PER_MINUTE, Unit.PER_MINUTE): (1.0, 0.0),
}


def parse_unit(code: str) -> Unit:
    """The unit with UCUM code `code`.

    Raises
    ------
    UnknownSchemaError
        No such unit is registered. Look-alikes (``mmHg`` for ``mm[Hg]``) are not accepted.
    """
    try:
        return Unit(code)
    except ValueError as error:
        known = ", ".join(unit.value for unit in Unit)
        raise UnknownSchemaError(
            f"unit {code!r} is not a registered UCUM code ({known})"
        ) from error


def conversion(source: Unit, target: Unit) -> tuple[float, float]:
    """`(scale, offset)` such that ``target_value = source_value * scale + offset``.

    Raises
    ------
    OutOfRangeError
        The two units do not measure the same quantity.
    """
    if source is target:
        return 1.0, 0.0
    if (source, target) in _AFFINE:
        return _AFFINE[source, target]
    if (target, source) in _AFFINE:
        scale, offset = _AFFINE[target, source]
        return 1 / scale, -offset / scale
    raise OutOfRangeError(f"{source.value} cannot be converted to {target.value}")


def convert(value: float, source: Unit, target: Unit) -> float:
    """`value` of unit `source` expressed in `target`; NaN stays NaN.

    Raises
    ------
    OutOfRangeError
        The two units do not measure the same quantity.
    """
    scale, offset = conversion(source, target)
    return value * scale + offset
