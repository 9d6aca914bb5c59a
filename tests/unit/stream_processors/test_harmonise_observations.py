"""Observations as records state them: mapped to one code and unit, or held back with the reason."""

import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processors.core.harmonising import Flag, Harmonised, Mapped, Quarantined, Reason
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.terminology import LocalMapping, Terminology
from stream_processors.core.ucum import parse_ucum
from stream_processors.harmonise.graph import compile_terminology, read_graph
from stream_processors.harmonise.harmoniser import Harmoniser
from wardstream.contracts.codes import NUMERIC_CODES
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

NOW = TimestampNs(1_793_000_000 * NS_PER_S)  # October 2026
ADULT = PatientFacts(birth_date=date(1960, 5, 1), sex="male")
WOMAN = PatientFacts(birth_date=date(1990, 5, 1), sex="female")
NEWBORN = PatientFacts(birth_date=date(2026, 10, 20), sex="female")
TERMINOLOGY = compile_terminology(read_graph())


@pytest.fixture
def harmoniser() -> Harmoniser:
    TERMINOLOGY.forget_learned()
    return Harmoniser(TERMINOLOGY)


def said(
    code: str, value: float | str | None, unit: str | None, system: str = "LN", text: str = "", **more: str
) -> Observation:  # fmt: skip
    return Observation(
        pseudonym="p-1", encounter_id=None, time_ns=NOW, code_system=system, code=code,
        code_text=text, value=value, unit=unit, source=more.get("source", "hl7:ORU^R01:LAB|X"),
        message_id=more.get("message_id", "m-1"),
    )  # fmt: skip


def mapped(result: Harmonised) -> Mapped:
    assert isinstance(result, Mapped), result
    return result


def reason(result: Harmonised) -> Reason:
    assert isinstance(result, Quarantined), result
    return result.reason


@pytest.mark.parametrize(
    ("observation", "concept", "value"),
    [
        (said("2160-0", 1.0, "mg/dL"), "creatinine", 88.40),
        (said("14682-9", 90.0, "umol/L"), "creatinine", 90.0),
        (said("2345-7", 100.0, "mg/dL"), "glucose", 5.5507),
        (said("8310-5", 98.6, "[degF]"), "temperature", 37.0),
        (said("150456", 97.0, "MDC_DIM_PERCENT", "MDC", "MDC_PULS_OXIM_SAT_O2"), "spo2", 97.0),
        (said("MDC_PRESS_BLD_ART_SYS", 16.0, "kPa", ""), "systolic-pressure-arterial", 120.01),
        (said("150021", 120.0, "266016", "MDC"), "systolic-pressure-noninvasive", 120.0),
        (said("2744-1", 7.31, None), "ph", 7.31),
        (said("3150-6", 0.4, "1"), "inspired-oxygen", 40.0),
        (said("718-7", "13.5", "g/dL", "http://loinc.org"), "haemoglobin", 135.0),
        (said("777-3", 150.0, "10*3/uL"), "platelets", 150.0),
        (said("3094-0", 14.0, "mg/dL"), "urea-nitrogen", 4.9975),
    ],
)
def test_a_number_comes_in_our_code_and_unit(
    harmoniser: Harmoniser, observation: Observation, concept: str, value: float
) -> None:
    result = mapped(harmoniser(observation, ADULT))
    assert result.concept.name == concept
    assert result.value == pytest.approx(value, rel=1e-4)
    assert result.unit == result.concept.unit
    assert result.observation is observation


@pytest.mark.parametrize(
    "words", ["高血压", "hypertension", "HBP", "Ｈypertension", " high  blood pressure "]
)
def test_one_diagnosis_in_two_languages_and_many_words(harmoniser: Harmoniser, words: str) -> None:
    result = mapped(harmoniser(said("D0017", None, None, "L", words), ADULT))
    assert (result.concept.name, result.flags) == ("hypertension", (Flag.BY_NAME,))


@pytest.mark.parametrize(
    ("system", "code", "concept"),
    [
        ("http://snomed.info/sct", "38341003", "hypertension"),
        ("I10", "I10.x00", "hypertension"),
        ("ICD-10", "I48.0", "atrial-fibrillation"),
        ("http://www.whocc.no/atc", "C07AB02", "metoprolol"),
        ("ATC", "C07AB12", "beta-blocker"),
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "855332", "warfarin"),
    ],
)
def test_diagnoses_and_drugs_by_their_code(
    harmoniser: Harmoniser, system: str, code: str, concept: str
) -> None:
    assert mapped(harmoniser(said(code, None, None, system), ADULT)).concept.name == concept


def test_a_refuted_diagnosis_is_flagged(harmoniser: Harmoniser) -> None:
    assert Flag.NOT_PRESENT in mapped(harmoniser(said("I10", "refuted", None, "I10"))).flags


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (said("2160-0", 90.0, "mg/dL"), Reason.UNIT_SUSPECTED),
        (said("2160-0", 1.1, "umol/L"), Reason.UNIT_SUSPECTED),
        (said("2345-7", 5.5, "mg/dL"), Reason.UNIT_SUSPECTED),
        (said("8310-5", 98.6, "Cel"), Reason.UNIT_SUSPECTED),
        (said("2019-8", 5.3, "mm[Hg]"), Reason.UNIT_SUSPECTED),
        (said("2019-8", 40.0, "kPa"), Reason.UNIT_SUSPECTED),
        (said("3150-6", 0.4, "%"), Reason.UNIT_SUSPECTED),
        (said("718-7", 14.0, "g/L"), Reason.UNIT_SUSPECTED),
        (said("2744-1", 73.0, "[pH]"), Reason.IMPOSSIBLE_VALUE),
        (said("59408-5", 130.0, "%"), Reason.IMPOSSIBLE_VALUE),
        (said("2823-3", 4.1, None), Reason.NO_UNIT),
        (said("2823-3", 4.1, ""), Reason.NO_UNIT),
        (said("2823-3", 4.1, "glug"), Reason.UNKNOWN_UNIT),
        (said("2823-3", 4.1, "264999"), Reason.UNKNOWN_UNIT),
        (said("2823-3", 4.1, "mm[Hg]"), Reason.WRONG_DIMENSION),
        (said("2744-1", 7.4, "%"), Reason.WRONG_DIMENSION),
        (said("4548-4", 48.0, "mmol/mol"), Reason.WRONG_DIMENSION),
        (said("8867-4", 8.0, "ug/kg/min"), Reason.WRONG_DIMENSION),
        (said("2524-7", 18.0, "mmol"), Reason.WRONG_DIMENSION),
        (said("2823-3", None, "mmol/L"), Reason.NO_VALUE),
        (said("2823-3", "haemolysed", "mmol/L"), Reason.NOT_A_NUMBER),
        (said("2823-3", "4,1", "mmol/L"), Reason.NOT_A_NUMBER),
        (said("2823-3", "<2.0", "mmol/L"), Reason.NOT_A_NUMBER),
        (said("2823-3", "٤", "mmol/L"), Reason.NOT_A_NUMBER),
        (said("2823-3", math.nan, "mmol/L"), Reason.NOT_A_NUMBER),
        (said("2823-3", "1e400", "mmol/L"), Reason.NOT_A_NUMBER),
        (said("99999-9", 1.0, "mmol/L"), Reason.UNKNOWN_CODE),
        (said("K_SER", 4.1, "mmol/L", "L", "K"), Reason.UNKNOWN_CODE),
        (said("2823-3", 140.0, "mmol/L", text="Sodium"), Reason.CODE_CONTRADICTS_NAME),
        (said("147842", 97.0, "%", "MDC", "MDC_PULS_OXIM_SAT_O2"), Reason.CODE_CONTRADICTS_NAME),
        (said("2106-3", "positive", None), Reason.IMPOSSIBLE_FOR_SEX),
        (said("67775-7", "sleepy", None), Reason.UNKNOWN_ANSWER),
        (said("C07AB02", 5.0, "spoon", "ATC"), Reason.UNKNOWN_UNIT),
    ],
)
def test_what_cannot_be_is_held_back(
    harmoniser: Harmoniser, observation: Observation, why: Reason
) -> None:
    result = harmoniser(observation, ADULT)
    assert reason(result) is why
    assert isinstance(result, Quarantined)
    assert result.text
    assert result.observation is observation


def test_plausibility_knows_age(harmoniser: Harmoniser) -> None:
    fast = said("8867-4", 170.0, "/min")
    slow = said("8867-4", 60.0, "/min")
    assert mapped(harmoniser(fast, NEWBORN)).flags == ()
    assert mapped(harmoniser(fast, ADULT)).flags == (Flag.UNUSUAL,)
    assert mapped(harmoniser(slow, NEWBORN)).flags == (Flag.UNUSUAL,)
    assert mapped(harmoniser(slow, ADULT)).flags == ()
    assert reason(harmoniser(said("29463-7", 3500.0, "kg"), NEWBORN)) is Reason.UNIT_SUSPECTED
    assert mapped(harmoniser(said("29463-7", 3.5, "kg"), NEWBORN)).value == 3.5


def test_what_was_observed_before_birth_is_another_patients(harmoniser: Harmoniser) -> None:
    unborn = PatientFacts(birth_date=date(2030, 1, 1), sex="male")
    assert reason(harmoniser(said("8867-4", 80.0, "/min"), unborn)) is Reason.BEFORE_BIRTH


def test_plausibility_knows_sex(harmoniser: Harmoniser) -> None:
    test = said("2106-3", "阳性", None)
    assert mapped(harmoniser(test, WOMAN)).text == "positive"
    assert mapped(harmoniser(test, None)).flags == (Flag.SEX_UNKNOWN,)
    assert reason(harmoniser(test, ADULT)) is Reason.IMPOSSIBLE_FOR_SEX


def test_a_deep_hypoglycaemia_is_no_slip_of_unit(harmoniser: Harmoniser) -> None:
    result = mapped(harmoniser(said("2345-7", 25.0, "mg/dL"), ADULT))
    assert result.flags == (Flag.UNUSUAL,)


def test_units_written_otherwise_are_known_and_flagged(harmoniser: Harmoniser) -> None:
    for unit, value in (("mmHg", 120.0), ("kPa", 16.0)):
        assert mapped(harmoniser(said("8480-6", value, unit))).value == pytest.approx(120, abs=0.1)
    assert mapped(harmoniser(said("8480-6", 120.0, "mmHg"))).flags == (Flag.UNIT_BY_NAME,)
    assert mapped(harmoniser(said("6690-2", 8.0, "K/uL"))).value == pytest.approx(8.0)
    assert mapped(harmoniser(said("8310-5", 37.2, "℃"))).value == 37.2


def test_the_same_statement_twice_has_one_identity(harmoniser: Harmoniser) -> None:
    first = said("2160-0", 1.0, "mg/dL", message_id="a")
    again = replace(first, message_id="b")
    other = replace(first, value=1.2)
    elsewhere = replace(first, source="hl7:ORU^R01:OTHER|X")
    ids = [mapped(harmoniser(one)).observation_id for one in (first, again, other, elsewhere)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_what_a_person_says_once_holds_at_once(harmoniser: Harmoniser) -> None:
    local = said("K_SER", 4.1, None, "L", "Kalium")
    assert reason(harmoniser(local)) is Reason.UNKNOWN_CODE
    harmoniser.learn([LocalMapping(code_system="L", code="K_SER", code_text="", stated_unit="",
                                   source="", concept="potassium", unit="mmol/L")])  # fmt: skip
    result = mapped(harmoniser(local))
    assert (result.concept.name, result.value, result.flags) == ("potassium", 4.1, (Flag.LOCAL,))
    # What is mapped is judged like everything else, and only what was said is mapped.
    assert reason(harmoniser(replace(local, value=41.0))) is Reason.IMPOSSIBLE_VALUE
    assert reason(harmoniser(replace(local, unit="mg/dL"))) is Reason.UNKNOWN_CODE
    harmoniser.learn([])
    assert reason(harmoniser(local)) is Reason.UNKNOWN_CODE


def test_a_mapping_to_nothing_is_refused(harmoniser: Harmoniser) -> None:
    with pytest.raises(ConfigurationError, match="no concept"):
        harmoniser.learn([LocalMapping(code_system="L", code="X", code_text="", stated_unit="",
                                       source="", concept="nothing", unit=None)])  # fmt: skip


def test_every_numeric_of_the_contracts_is_in_the_graph_with_its_unit_and_loinc() -> None:
    terminology = TERMINOLOGY
    for code in NUMERIC_CODES:
        concept = terminology.by_code("MDC", code.mdc)
        assert concept is not None, code.mdc
        assert (concept.code, concept.unit) == (code.mdc, code.unit.value)
        if code.loinc:
            assert terminology.by_code("LOINC", code.loinc) is concept


def test_two_concepts_of_one_name_are_not_compiled() -> None:
    terminology = TERMINOLOGY
    one, other = terminology.concepts[:2]
    with pytest.raises(ConfigurationError, match=f"is both {one.name} and {other.name}"):
        Terminology([one, replace(other, names=one.names)], {}, {})


def test_every_spelling_stands_for_a_unit() -> None:
    terminology = TERMINOLOGY
    spellings = {"mmHg", "℃", "次/分", "MDC_DIM_BEAT_PER_MIN", "μmol/L"}
    for spelling in spellings:
        code = terminology.unit_code(spelling)
        assert code is not None
        parse_ucum(code)


ANY_VALUE = st.one_of(st.none(), st.floats(), st.text(max_size=8), st.floats(0, 200))
ANY_CODE = st.sampled_from(
    ["2160-0", "8310-5", "8867-4", "2744-1", "2106-3", "150456", "I10.9", "C07", "K", "", "x\x00"]
)
ANY_SYSTEM = st.sampled_from(["LN", "MDC", "I10", "ATC", "L", "", "http://loinc.org", "zz"])
ANY_UNIT = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["mg/dL", "umol/L", "Cel", "/min", "%", "mmHg"])
)
ANY_PATIENT = st.builds(
    PatientFacts,
    birth_date=st.one_of(st.none(), st.dates(date(1900, 1, 1), date(2030, 1, 1))),
    sex=st.sampled_from([None, "male", "female", "other"]),
)


@settings(max_examples=40, deadline=None)
@given(
    feed=st.lists(
        st.tuples(ANY_CODE, ANY_VALUE, ANY_UNIT, ANY_SYSTEM, st.text(max_size=6), ANY_PATIENT),
        max_size=25,
    )
)
def test_what_comes_in_is_what_is_mapped_and_held_back(
    feed: list[tuple[str, float | str | None, str | None, str, str, PatientFacts]],
) -> None:
    harmoniser = Harmoniser(TERMINOLOGY)
    results = [harmoniser(said(*stated), patient) for *stated, patient in feed]
    counts = harmoniser.counts()
    assert counts.n_in == len(feed)
    assert counts.n_mapped == sum(isinstance(result, Mapped) for result in results)
    assert sum(counts.quarantined.values()) == sum(
        isinstance(result, Quarantined) for result in results
    )
    assert counts.is_balanced
    for result, (*stated, _) in zip(results, feed, strict=True):
        assert repr(result.observation) == repr(said(*stated))  # nothing is put right
        if isinstance(result, Mapped) and result.value is not None:
            assert math.isfinite(result.value)
            assert result.unit is not None
