"""Units: known conversions, dimensions kept apart, there and back again."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.core.ucum import NO_SUBSTANCE, Substance, conversion, convert, parse_ucum
from wardstream.contracts.errors import ContractError, OutOfRangeError, UnknownSchemaError
from wardstream.contracts.units import Unit

GLUCOSE = Substance(molar_mass=180.156)
CALCIUM = Substance(molar_mass=40.078, valence=2)


@pytest.mark.parametrize(
    ("value", "source", "target", "substance", "expected"),
    [
        (16.0, "kPa", "mm[Hg]", NO_SUBSTANCE, 120.0102),
        (98.6, "[degF]", "Cel", NO_SUBSTANCE, 37.0),
        (310.15, "K", "Cel", NO_SUBSTANCE, 37.0),
        (100.0, "mg/dL", "mmol/L", GLUCOSE, 5.5507),
        (1.0, "mg/dL", "umol/L", Substance(molar_mass=113.12), 88.402),
        (1.0, "mg/dL", "umol/L", Substance(molar_mass=584.66), 17.104),
        (14.0, "g/dL", "g/L", NO_SUBSTANCE, 140.0),
        (250.0, "10*3/uL", "10*9/L", NO_SUBSTANCE, 250.0),
        (4.0, "meq/L", "mmol/L", Substance(valence=1), 4.0),
        (5.0, "meq/L", "mmol/L", CALCIUM, 2.5),
        (10.0, "mg/dL", "meq/L", CALCIUM, 4.9903),
        (72.0, "{beat}/min", "/min", NO_SUBSTANCE, 72.0),
        (1.2, "Hz", "/min", NO_SUBSTANCE, 72.0),
        (0.97, "1", "%", NO_SUBSTANCE, 97.0),
        (60.0, "mL/h", "mL/min", NO_SUBSTANCE, 1.0),
        (6.0, "ug/kg/min", "mg/kg/h", NO_SUBSTANCE, 0.36),
        (10.0, "cm[H2O]", "mm[Hg]", NO_SUBSTANCE, 7.3556),
        (0.5, "ukat/L", "U/L", NO_SUBSTANCE, 30.0),
        (1.0, "ug/(kg.min)", "ug/kg/min", NO_SUBSTANCE, 1.0),
    ],
)
def test_a_known_conversion(
    value: float, source: str, target: str, substance: Substance, expected: float
) -> None:
    assert convert(value, source, target, substance) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("source", "target", "substance"),
    [
        ("mm[Hg]", "mmol/L", NO_SUBSTANCE),
        ("mg/dL", "mmol/L", NO_SUBSTANCE),  # of what?
        ("meq/L", "mmol/L", GLUCOSE),  # a valence is not stated
        ("ug/kg/min", "/min", NO_SUBSTANCE),  # a dose is no rate, though the kilograms cancel
        ("[iU]/L", "U/L", NO_SUBSTANCE),
        ("[arb'U]", "1", NO_SUBSTANCE),
        ("Cel", "%", NO_SUBSTANCE),
        ("mg", "mg/dL", GLUCOSE),
    ],
)
def test_another_dimension_is_refused(source: str, target: str, substance: Substance) -> None:
    with pytest.raises(OutOfRangeError, match="cannot be converted"):
        convert(1.0, source, target, substance)


@pytest.mark.parametrize(
    "code", ["", "mmHg", "°C", "MG/DL", "mg//dL", "mg/", "{open", "10*", "m0", "0", "(m", "Cel/min2x",
             "(score)", "m" * 65, "((((((m))))))", "/", "mCel"],
)  # fmt: skip
def test_what_is_no_ucum_is_refused(code: str) -> None:
    if code == "10*":
        assert parse_ucum(code).is_number  # ten itself
        return
    with pytest.raises(UnknownSchemaError):
        parse_ucum(code)


def test_units_of_the_contracts_are_read_and_converted_alike() -> None:
    from wardstream.contracts.units import convert as contract_convert

    for source in Unit:
        for target in Unit:
            parse_ucum(source.value)
            try:
                expected = contract_convert(3.0, source, target)
            except OutOfRangeError:
                continue
            assert convert(3.0, source.value, target.value) == pytest.approx(expected, rel=1e-9)


ATOMS = ["m", "g", "s", "mol", "L", "Pa", "m[Hg]", "U", "[iU]", "eq", "K", "min", "h", "%"]
PREFIXABLE = {"m", "g", "s", "mol", "L", "Pa", "m[Hg]", "U", "[iU]", "eq", "K"}


@st.composite
def units(draw: st.DrawFn) -> str:
    parts: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        atom = draw(st.sampled_from(ATOMS))
        prefix = draw(st.sampled_from(["", "k", "m", "u", "n"])) if atom in PREFIXABLE else ""
        power = draw(st.sampled_from(["", "", "2", "-1"]))
        annotation = draw(st.sampled_from(["", "", "{beat}"]))
        parts += [prefix + atom + power + annotation, draw(st.sampled_from([".", "/"]))]
    return "".join(parts[:-1])


@settings(max_examples=60, deadline=None)
@given(unit=units(), other=units(), value=st.floats(1e-6, 1e6))
def test_there_and_back_is_where_it_began(unit: str, other: str, value: float) -> None:
    first, second = parse_ucum(unit), parse_ucum(other)
    try:
        scale, shift = conversion(first, second)
        back, back_shift = conversion(second, first)
    except OutOfRangeError:
        if not (first.is_number and second.is_number):
            assert (
                first.dimension != second.dimension or first.mass_over_mass != second.mass_over_mass
            )
        return
    assert first.dimension == second.dimension
    assert (value * scale + shift) * back + back_shift == pytest.approx(value, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(value=st.floats(-200, 500), units_=st.permutations(["Cel", "[degF]", "K"]))
def test_temperatures_go_round_in_a_circle(value: float, units_: list[str]) -> None:
    a, b, c = units_
    around = convert(convert(convert(value, a, b), b, c), c, a)
    assert around == pytest.approx(value, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(1e-3, 1e4),
    mass=st.floats(10, 1000),
    pair=st.sampled_from([("mg/dL", "mmol/L"), ("g/L", "umol/L"), ("mg", "umol"), ("mg/h", "mmol/d")]),
)  # fmt: skip
def test_masses_and_moles_go_there_and_back_by_the_molar_mass(
    value: float, mass: float, pair: tuple[str, str]
) -> None:
    substance = Substance(molar_mass=round(mass, 3))
    there = convert(value, *pair, substance)
    assert convert(there, pair[1], pair[0], substance) == pytest.approx(value, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        unit = parse_ucum(text)
    except ContractError:
        return
    assert math.isfinite(float(unit.factor))
