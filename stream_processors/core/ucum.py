"""UCUM units with their dimensions: what a unit measures, and how one becomes another.

A subset of the Unified Code for Units of Measure (https://ucum.org, case-sensitive codes) as
laboratories, monitors and pumps write it: terms with ``.`` and ``/``, exponents, prefixes,
annotations in braces, powers of ten (``10*9/L``), and the affine temperatures. Factors are exact
fractions, so a conversion there and back gives the number it began with but for one rounding.

Stricter than UCUM where patients need it: the mole, the equivalent and the international unit
are dimensions of their own (in UCUM a mole is a number), so ``mmol/L`` becomes ``mg/dL`` only
through the molar mass of a stated substance; and ``ug/kg/min`` is not a frequency.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, TypeAlias

from wardstream.contracts.errors import OutOfRangeError, UnknownSchemaError

BASES: Final = ("m", "g", "s", "K", "C", "mol", "eq", "[iU]", "[arb'U]")
"""Order of the exponents in a `Dimension`."""

Dimension: TypeAlias = tuple[int, ...]
_NONE: Final[Dimension] = (0,) * len(BASES)
_LONGEST: Final = 64
_MOST_EXPONENT: Final = 24


@dataclass(frozen=True, slots=True)
class UcumUnit:
    """A unit taken apart: base-unit value = ``(value + offset) * factor``.

    Attributes
    ----------
    code : str
        As it was written.
    factor : Fraction
        In base units (m, g, s, K, C, mol, eq, [iU], [arb'U]).
    offset : Fraction
        Of affine temperatures, in the unit itself; else 0.
    dimension : tuple of int
        Exponents of `BASES`.
    mass_over_mass : bool
        Masses stand above and below the stroke (``ug/kg/min``): a dose, not a bare rate.
    """

    code: str
    factor: Fraction
    offset: Fraction
    dimension: Dimension
    mass_over_mass: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it has no dimension: ``1``, ``%``, ``L/L``, ``{score}``."""
        return self.dimension == _NONE


@dataclass(frozen=True, slots=True)
class Substance:
    """What a concentration is of, as far as conversion needs it.

    Attributes
    ----------
    molar_mass : float or None
        g/mol; None: masses and moles of it are not converted.
    valence : int or None
        Equivalents in a mole; None: equivalents of it are not converted.
    """

    molar_mass: float | None = None
    valence: int | None = None


NO_SUBSTANCE: Final = Substance()
"""Of nothing in particular: only units of one dimension are converted."""

_PREFIXES: Final[Mapping[str, Fraction]] = {
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "h": Fraction(100),
    "da": Fraction(10),
    "d": Fraction(1, 10),
    "c": Fraction(1, 100),
    "m": Fraction(1, 1000),
    "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9),
    "p": Fraction(1, 10**12),
    "f": Fraction(1, 10**15),
}


def _dimension(**exponents: int) -> Dimension:
    names = ("m", "g", "s", "K", "C", "mol", "eq", "iU", "arb")
    return tuple(exponents.get(name, 0) for name in names)


_VOLUME: Final = _dimension(m=3)
_PRESSURE: Final = _dimension(g=1, m=-1, s=-2)
_ENERGY: Final = _dimension(g=1, m=2, s=-2)
_LITRE: Final = Fraction(1, 1000)
_PASCAL: Final = Fraction(1000)  # in g/(m.s2)

# Atoms that take prefixes: factor to base units, dimension.
_METRIC: Final[Mapping[str, tuple[Fraction, Dimension]]] = {
    "m": (Fraction(1), _dimension(m=1)),
    "g": (Fraction(1), _dimension(g=1)),
    "s": (Fraction(1), _dimension(s=1)),
    "K": (Fraction(1), _dimension(K=1)),
    "C": (Fraction(1), _dimension(C=1)),
    "mol": (Fraction(1), _dimension(mol=1)),
    "eq": (Fraction(1), _dimension(eq=1)),
    "osm": (Fraction(1), _dimension(mol=1)),
    "L": (_LITRE, _VOLUME),
    "l": (_LITRE, _VOLUME),
    "A": (Fraction(1), _dimension(C=1, s=-1)),
    "Hz": (Fraction(1), _dimension(s=-1)),
    "N": (Fraction(1000), _dimension(g=1, m=1, s=-2)),
    "Pa": (_PASCAL, _PRESSURE),
    "bar": (_PASCAL * 100_000, _PRESSURE),
    "m[Hg]": (_PASCAL * 133_322, _PRESSURE),
    "m[H2O]": (_PASCAL * Fraction("9806.65"), _PRESSURE),
    "J": (Fraction(1000), _ENERGY),
    "cal": (Fraction(4184), _ENERGY),
    "W": (Fraction(1000), _dimension(g=1, m=2, s=-3)),
    "V": (Fraction(1000), _dimension(g=1, m=2, s=-2, C=-1)),
    "Ohm": (Fraction(1000), _dimension(g=1, m=2, s=-1, C=-2)),
    "kat": (Fraction(1), _dimension(mol=1, s=-1)),
    "U": (Fraction(1, 60 * 10**6), _dimension(mol=1, s=-1)),
    "[iU]": (Fraction(1), _dimension(iU=1)),
    "[IU]": (Fraction(1), _dimension(iU=1)),
}
# Atoms that take none.
_PLAIN: Final[Mapping[str, tuple[Fraction, Dimension]]] = {
    "%": (Fraction(1, 100), _NONE),
    "[ppm]": (Fraction(1, 10**6), _NONE),
    "[pH]": (Fraction(1), _NONE),
    "min": (Fraction(60), _dimension(s=1)),
    "h": (Fraction(3600), _dimension(s=1)),
    "d": (Fraction(86_400), _dimension(s=1)),
    "wk": (Fraction(7 * 86_400), _dimension(s=1)),
    "mo": (Fraction(86_400) * Fraction("30.4375"), _dimension(s=1)),
    "a": (Fraction(86_400) * Fraction("365.25"), _dimension(s=1)),
    "[lb_av]": (Fraction("453.59237"), _dimension(g=1)),
    "[in_i]": (Fraction("0.0254"), _dimension(m=1)),
    "[arb'U]": (Fraction(1), _dimension(arb=1)),
}
# Affine: kelvin = (value + offset) * factor.
_AFFINE: Final[Mapping[str, tuple[Fraction, Fraction]]] = {
    "Cel": (Fraction(1), Fraction("273.15")),
    "[degF]": (Fraction(5, 9), Fraction("459.67")),
}
_SYMBOL: Final = re.compile(r"(?:[A-Za-z%']|\[[^\[\]{}]*\])+")
_EXPONENT: Final = re.compile(r"[+-]?\d+")


@lru_cache(maxsize=4096)
def parse_ucum(code: str) -> UcumUnit:
    """The unit with UCUM code `code`.

    Raises
    ------
    UnknownSchemaError
        It is no code of the subset; the message says where reading stopped.
    """
    if code in _AFFINE:
        factor, offset = _AFFINE[code]
        return UcumUnit(code, factor, offset, _dimension(K=1))
    if not code or len(code) > _LONGEST or not code.isascii():
        raise UnknownSchemaError(f"{code[:_LONGEST]!r} is not a UCUM unit")
    return _Parser(code).read()


def conversion(
    source: UcumUnit, target: UcumUnit, substance: Substance = NO_SUBSTANCE
) -> tuple[float, float]:
    """`(scale, shift)` such that ``target_value = source_value * scale + shift``.

    Raises
    ------
    OutOfRangeError
        They measure different quantities, or moles and masses of a substance whose molar mass
        is not stated.
    """
    bridge = _bridge(source, target, substance)
    both_bare = source.is_number and target.is_number
    if not both_bare and source.mass_over_mass != target.mass_over_mass:
        raise _unlike(source, target)
    scale = source.factor * bridge / target.factor
    shift = source.offset * scale - target.offset
    try:
        return float(scale), float(shift)
    except OverflowError as error:
        raise _unlike(source, target) from error


def convert(value: float, source: str, target: str, substance: Substance = NO_SUBSTANCE) -> float:
    """`value` of UCUM unit `source`, in `target`; NaN stays NaN.

    Raises
    ------
    UnknownSchemaError
        One of them is no UCUM unit.
    OutOfRangeError
        They measure different quantities.
    """
    scale, shift = conversion(parse_ucum(source), parse_ucum(target), substance)
    return value * scale + shift


def _bridge(source: UcumUnit, target: UcumUnit, substance: Substance) -> Fraction:
    if source.dimension == target.dimension:
        return Fraction(1)
    change = tuple(b - a for a, b in zip(source.dimension, target.dimension, strict=True))
    mass, mole, equivalent = BASES.index("g"), BASES.index("mol"), BASES.index("eq")
    factor = Fraction(1)
    # Through moles: whatever appears of one must vanish of another, once.
    if change[mass] in (-1, 1) and substance.molar_mass is not None:
        factor *= Fraction(str(substance.molar_mass)) ** change[mass]
    elif change[mass]:
        raise _unlike(source, target)
    if change[equivalent] in (-1, 1) and substance.valence is not None:
        factor *= Fraction(substance.valence) ** change[equivalent]
    elif change[equivalent]:
        raise _unlike(source, target)
    rest = [n for index, n in enumerate(change) if index not in (mass, mole, equivalent)]
    if any(rest) or change[mass] + change[mole] + change[equivalent] != 0:
        raise _unlike(source, target)
    return factor


def _unlike(source: UcumUnit, target: UcumUnit) -> OutOfRangeError:
    return OutOfRangeError(f"{source.code} cannot be converted to {target.code}")


class _Parser:
    """Recursive descent over ``term = ['/'] component {('.' | '/') component}``."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._at = 0
        self._depth = 0
        self._mass_above = False
        self._mass_below = False

    def read(self) -> UcumUnit:
        factor, dimension = self._term(above=True)
        if self._at != len(self._code):
            raise self._wrong()
        both = self._mass_above and self._mass_below
        return UcumUnit(self._code, factor, Fraction(0), dimension, both)

    def _wrong(self) -> UnknownSchemaError:
        return UnknownSchemaError(
            f"{self._code!r} is not a UCUM unit: stopped at {self._code[self._at :]!r}"
        )

    def _peek(self) -> str:
        return self._code[self._at : self._at + 1]

    def _term(self, *, above: bool) -> tuple[Fraction, Dimension]:
        factor, dimension = Fraction(1), _NONE
        sign = 1
        if self._peek() == "/":
            sign = -1
            self._at += 1
        while True:
            part_factor, part = self._component(above=above == (sign > 0))
            factor *= part_factor**sign
            dimension = tuple(a + sign * b for a, b in zip(dimension, part, strict=True))
            if self._peek() not in (".", "/") or self._at >= len(self._code):
                return factor, dimension
            sign = 1 if self._peek() == "." else -1
            self._at += 1

    def _component(self, *, above: bool) -> tuple[Fraction, Dimension]:
        found: tuple[Fraction, Dimension] | None = None
        if self._peek() == "(":
            self._depth += 1
            if self._depth > 4:
                raise self._wrong()
            self._at += 1
            found = self._term(above=above)
            if self._peek() != ")":
                raise self._wrong()
            self._at += 1
            self._depth -= 1
        elif self._code.startswith(("10*", "10^"), self._at):
            self._at += 3
            found = Fraction(10) ** (self._exponent() or 1), _NONE
        elif self._peek().isdigit():
            number = _EXPONENT.match(self._code, self._at)
            if number is None or int(number[0]) == 0:
                raise self._wrong()
            self._at = number.end()
            found = Fraction(int(number[0])), _NONE
        elif self._peek() != "{":
            found = self._atom(above=above)
        annotated = self._annotation()
        if found is None and not annotated:
            raise self._wrong()
        return found or (Fraction(1), _NONE)

    def _atom(self, *, above: bool) -> tuple[Fraction, Dimension]:
        match = _SYMBOL.match(self._code, self._at)
        if match is None:
            raise self._wrong()
        resolved = _resolve(match[0])
        if resolved is None:
            raise self._wrong()
        self._at = match.end()
        power = self._exponent() or 1
        factor, dimension = resolved
        # A pressure has a mass in it too; a dose is told by the gram itself.
        if dimension == _dimension(g=1):
            self._mass_above |= above == (power > 0)
            self._mass_below |= above != (power > 0)
        return factor**power, tuple(power * n for n in dimension)

    def _exponent(self) -> int:
        match = _EXPONENT.match(self._code, self._at)
        if match is None:
            return 0
        power = int(match[0])
        if power == 0 or abs(power) > _MOST_EXPONENT:
            raise self._wrong()
        self._at = match.end()
        return power

    def _annotation(self) -> bool:
        if self._peek() != "{":
            return False
        end = self._code.find("}", self._at)
        if end < 0 or "{" in self._code[self._at + 1 : end]:
            raise self._wrong()
        self._at = end + 1
        return True


def _resolve(symbol: str) -> tuple[Fraction, Dimension] | None:
    found = _PLAIN.get(symbol) or _METRIC.get(symbol)
    if found is not None:
        return found
    for length in (1, 2):
        prefix, atom = _PREFIXES.get(symbol[:length]), _METRIC.get(symbol[length:])
        if prefix is not None and atom is not None:
            return prefix * atom[0], atom[1]
    return None
