"""How one hospital writes its messages: identifiers, places, times, numbers."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from stream_processors.record_gateway.pseudonym import pseudonym_of
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_id

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """How one hospital writes its messages.

    Attributes
    ----------
    site_secret : bytes
        Key of pseudonyms.
    bed_template : str
        How a bed id is made of PV1-3: ``{point_of_care}``, ``{room}``, ``{bed}``, ``{facility}``;
        in lower case.
    bed_names : mapping of str to str
        ``point_of_care^room^bed`` -> bed id, where no template fits.
    authorities : mapping of str to str
        Assigning authority of an HL7 identifier (CX-4) -> FHIR identifier system, so that both
        give one pseudonym.
    time_zone : ZoneInfo or None
        Of HL7 times that state none.
    processing_id : str
        MSH-11 that is taken: P, T or D.
    open_end : bool
        Take messages whose last segment is not ended by CR: then one that was cut within an
        identifier is not told from a whole one.
    trust_beds : bool
        Take observations that name only a bed as the patient's who was in it as far as was known
        when they came: a movement that is told late does not move them.
    """

    site_secret: bytes
    bed_template: str = "{point_of_care}-{room}-{bed}"
    bed_names: Mapping[str, str] = field(default_factory=dict[str, str])
    authorities: Mapping[str, str] = field(default_factory=dict[str, str])
    time_zone: ZoneInfo | None = None
    processing_id: str = "P"
    open_end: bool = False
    trust_beds: bool = False

    def pseudonym(self, authority: str, identifier: str) -> str:
        """Of the patient with that identifier."""
        system = self.authorities.get(authority, authority)
        return pseudonym_of(self.site_secret, system, identifier)

    def encounter(self, authority: str, identifier: str) -> str | None:
        """Pseudonym of a stay, None where it has no number."""
        if not identifier:
            return None
        system = self.authorities.get(authority, authority)
        return "e" + pseudonym_of(self.site_secret, f"encounter|{system}", identifier)[1:]

    def bed(self, **parts: str) -> str | None:
        """Id of the bed at a location; None if that is no bed of ours."""
        place = "^".join(
            (parts.get("point_of_care", ""), parts.get("room", ""), parts.get("bed", ""))
        )
        if place in self.bed_names:
            return self.bed_names[place]
        used = re.findall(r"{(\w+)}", self.bed_template)
        if not all(parts.get(name) for name in used):
            return None
        try:
            return check_id(self.bed_template.format_map(parts).lower(), "bed_id")
        except OutOfRangeError:
            return None


def strict_number(text: str) -> float:
    """A decimal number as HL7's NM has it.

    Raises
    ------
    OutOfRangeError
        It is none: empty, with a comma, a unit, an exponent or not finite.
    """
    if not _NUMBER.fullmatch(text):
        raise OutOfRangeError("a value is not a decimal number")
    value = float(text)
    if not math.isfinite(value):
        raise OutOfRangeError("a value is beyond every number")
    return value
