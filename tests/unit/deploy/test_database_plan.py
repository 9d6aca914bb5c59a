"""Room planned from rows a bed makes, and never from fewer than it keeps."""

import json

import pytest

from deploy.database.__main__ import main
from deploy.database.plan import MEASURED_BYTES, Retained, plan, plan_as_dict


def by_table(**terms: object) -> dict[str, tuple[int, float, float]]:
    lines = plan(**{"beds": 1, "days": 365, "retained": Retained(), **terms})  # type: ignore[arg-type]
    return {line.table: (line.rows, line.gigabytes, line.gigabytes_compressed) for line in lines}


def test_rows_are_those_of_the_days_that_are_kept() -> None:
    rows = {table: line[0] for table, line in by_table().items()}
    assert rows["feature_frame"] == 86_400 * 31  # 30 days, and the one that is not over
    assert rows["feature_rollup_10s"] == 8_640 * 91
    assert rows["feature_rollup"] == 1_440 * 365
    assert rows["feature_rollup_15m"] == 96 * 365


def test_before_retention_bites_a_day_is_a_day() -> None:
    assert by_table(days=3)["feature_frame"][0] == 3 * 86_400


def test_compression_counts_only_for_what_is_old_enough() -> None:
    young = by_table(days=8, beds=100)["feature_frame"]
    assert (
        young[1] == young[2] == round(100 * 8 * 86_400 * MEASURED_BYTES["feature_frame"] / 1e9, 1)
    )
    old = by_table(days=31, beds=100)["feature_frame"]
    assert old[2] < old[1]


def test_a_sites_own_figures_come_first() -> None:
    own = {"feature_frame": {"bytes": 100.0, "compression": 10.0}}
    line = by_table(days=18, beds=1_000, measured=own)["feature_frame"]
    assert line[1] == round(1_000 * 18 * 86_400 * 100 / 1e9, 1)
    assert line[2] == round(1_000 * (8 + 1) * 86_400 * 100 / 1e9, 1)


def test_the_sum_is_that_of_the_lines() -> None:
    told = plan_as_dict(plan(beds=100, days=365, retained=Retained()))
    assert told["gigabytes"] == pytest.approx(sum(line["gigabytes"] for line in told["tables"]))


def test_the_command_says_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--beds", "2", "--days", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {line["table"]: line["rows"] for line in told["tables"]}["feature_frame"] == 172_800


@pytest.mark.parametrize("wrong", ["0", "-3"])
def test_no_beds_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--beds", wrong])
    with pytest.raises(ValueError, match="at least"):
        plan(beds=int(wrong), days=1, retained=Retained())
