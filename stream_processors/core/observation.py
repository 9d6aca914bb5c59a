"""What a record system said was observed, before anything is mapped: the gateway's word.

The record gateway makes one `Observation` of every HL7 OBX, alarm and FHIR resource that states
something of a patient, and hands it to ``harmonise(observation, facts)``, which maps it or says
why it cannot. Observations without a patient or a time never get so far: the gateway keeps the
message with its reason.
"""

from dataclasses import dataclass
from datetime import date

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One statement about one patient, in the sender's own codes and units.

    Attributes
    ----------
    pseudonym : str
        Stable pseudonym of the patient; never an identifier.
    encounter_id : str or None
        Pseudonym of the stay, where the sender names one.
    time_ns : TimestampNs
        When it was observed, UTC.
    code_system : str
        As the sender names it: ``MDC``, ``LN``, ``http://loinc.org``, ``L``, ...; may be empty.
    code : str
        Code in `code_system`. Of a medication or a condition, its own code. Of an alarm of a
        monitor ``196616`` (MDC_EVT_ALARM), with the event as the value.
    code_text : str
        The sender's words for it; may be empty, in any language.
    value : float, str or None
        Number; text or code as it came; None where the sender states that there is none.
    unit : str or None
        As the sender wrote it: a UCUM code where the sender marks one as UCUM, else an MDC
        dimension (``MDC_DIM_BEAT_PER_MIN``) or free text. None: no unit was stated.
    source : str
        Which message and sender it came from, for example ``hl7:ORU^R01:MONITOR|ICU``.
    message_id : str
        Identity: the same statement sent again has the same one.

    Raises
    ------
    OutOfRangeError
        It names no patient, no time or no identity.
    """

    pseudonym: str
    encounter_id: str | None
    time_ns: TimestampNs
    code_system: str
    code: str
    code_text: str
    value: float | str | None
    unit: str | None
    source: str
    message_id: str

    def __post_init__(self) -> None:
        if not self.pseudonym or not self.message_id:
            raise OutOfRangeError("an observation names a patient and has an identity")
        if self.time_ns <= 0:
            raise OutOfRangeError(f"an observation at {self.time_ns} ns has no time")


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFacts:
    """What plausibility may know of a patient.

    Attributes
    ----------
    birth_date : date or None
        Of a patient known from before only by year: the middle of that year.
    sex : str or None
        FHIR administrative gender: ``male``, ``female``, ``other``; None where unknown.
    """

    birth_date: date | None = None
    sex: str | None = None
