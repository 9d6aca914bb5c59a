"""Log lines are one JSON object each, whatever is in them."""

import json
import logging
import sys

from wardstream.contracts.logs import JsonLines


def a_record(message: str, *arguments: object, **attributes: object) -> logging.LogRecord:
    record = logging.LogRecord(
        "edge_agent.x", logging.WARNING, __file__, 1, message, arguments, None
    )
    record.__dict__.update(attributes)
    return record


def test_a_line_is_json_with_its_extra_fields() -> None:
    record = a_record("lost %s", "link", fields={"event": "alert", "device_id": "bed-01"})
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "lost link"
    assert line["level"] == "warning"
    assert line["event"] == "alert"
    assert line["time"].endswith("+00:00")


def test_a_traceback_and_newlines_stay_on_one_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        record = a_record("高血压\nfailed", exc_info=sys.exc_info())
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "ValueError" in json.loads(text)["exception"]
