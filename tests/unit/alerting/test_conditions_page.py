from pathlib import Path

from wardstream.alerting.conditions import table_rows

PAGE = Path(__file__).resolve().parents[3] / "docs" / "alert-conditions.md"


def test_the_page_for_people_holds_the_table_in_force() -> None:
    table = "\n".join(line for line in PAGE.read_text().splitlines() if line.startswith("|"))
    assert table == table_rows(), "run: python -m wardstream.alerting > docs/alert-conditions.md"
