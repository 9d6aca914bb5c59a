"""Codes and units as devices write them."""

import pytest

from edge_agent.adapters.drivers.nomenclature import (
    MDC_UNITS,
    REFERENCE_IDS,
    SYNONYMS,
    UNIT_NUMBERS,
    carry,
    find_code,
    find_unit,
)
from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.errors import UnknownSchemaError
from wardstream.contracts.units import Unit


def test_every_number_leads_to_a_registered_code_or_unit() -> None:
    assert [find_code(str(number)) for number in REFERENCE_IDS] == list(REFERENCE_IDS.values())
    for name in (*REFERENCE_IDS.values(), *SYNONYMS.values()):
        assert code_by_mdc(name).mdc == name
    assert [find_unit(str(number)) for number in UNIT_NUMBERS] == [
        MDC_UNITS[name] for name in UNIT_NUMBERS.values()
    ]


@pytest.mark.parametrize(
    ("partition", "term", "code"),
    [  # as the IntelliVue data export lists them: all of partition 2
        (2, 257, "MDC_ECG_ELEC_POTL_I"),
        (2, 331, "MDC_ECG_ELEC_POTL_MCL"),
        (2, 18949, "MDC_PRESS_BLD_NONINV_SYS"),
        (2, 18965, "MDC_PRESS_BLD_ART_SYS"),
        (2, 19012, "MDC_PRESS_BLD_VEN_CENT"),
        (2, 19272, "MDC_TEMP"),
        (2, 19380, "MDC_PULS_OXIM_PLETH"),
        (2, 19384, "MDC_PULS_OXIM_SAT_O2"),
        (2, 20490, "MDC_RESP_RATE"),
        (2, 29140, "MDC_CONC_GLU_ISF"),
    ],
)
def test_a_number_is_partition_and_term(partition: int, term: int, code: str) -> None:
    assert find_code(str(partition * 65_536 + term)) == code


def test_an_arterial_line_by_its_use_is_the_same_by_name_and_by_number() -> None:
    by_name = carry("MDC_PRESS_BLD_ART_ABP_SYS", "MDC_DIM_MMHG")
    assert by_name == carry("150037", "266016") == carry("MDC_PRESS_BLD_ART_SYS", "mm[Hg]")
    assert by_name.unit is Unit.MMHG


def test_what_is_not_in_the_look_up_is_never_guessed() -> None:
    for text in ("131399", "MDC_SOMETHING", "mmHg"):
        with pytest.raises(UnknownSchemaError):
            find_code(text)
    with pytest.raises(UnknownSchemaError, match="no unit"):
        find_unit(" ")
