"""The OpenAPI document is whole, and says what the code answers."""

import dataclasses

import msgspec
import pytest
from fastapi import FastAPI

from cloud_api.bootstrap import build
from cloud_api.core import views
from cloud_api.settings import CloudSettings

# Answers without a body, in text, or as bytes that are signed elsewhere.
_BARE = {
    ("/api/alerts/{alert_id}/calls/{level}/shown", "post"),
    ("/api/session", "delete"),
    ("/metrics", "get"),
    ("/models/{kind}/{path}", "get"),
}


@pytest.fixture
def app() -> FastAPI:
    settings = CloudSettings.model_validate(
        {
            "database_url": "postgresql://u:p@h/d",
            "mqtt_url": "mqtt://h",
            "session_secret": "s" * 32,
        }
    )
    return build(settings).app


def test_every_route_states_its_answer(app: FastAPI) -> None:
    document = app.openapi()
    n_routes = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            n_routes += 1
            good = [key for key in operation["responses"] if key < "300"]
            assert len(good) == 1, (path, method)
            if (path, method) in _BARE:
                continue
            content = operation["responses"][good[0]]["content"]
            assert next(iter(content.values()))["schema"], (path, method)
    assert n_routes >= 20


def test_the_stream_is_an_event_stream_that_can_be_resumed(app: FastAPI) -> None:
    operation = app.openapi()["paths"]["/api/stream"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert {p["name"] for p in operation["parameters"]} == {"last_event_id", "Last-Event-ID"}


def test_what_is_encoded_has_exactly_the_fields_the_document_names(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name in ("AlertView", "BedView", "DeviceView", "StripView", "ModelsView", "FrameView"):
        kind = getattr(views, name)
        assert {f.name for f in dataclasses.fields(kind)} == set(schemas[name]["properties"])


def test_a_view_is_encoded_with_null_for_what_is_missing() -> None:
    view = views.NumericsView(time_ns=None, age_s=None, values={"spo2_percent": None})
    assert msgspec.json.decode(msgspec.json.encode(view)) == {
        "time_ns": None,
        "age_s": None,
        "values": {"spo2_percent": None},
    }


def test_every_condition_has_words() -> None:
    assert views.condition_label("ventricular_fibrillation").lower().startswith("ventricular")
    assert views.condition_label("something_new") == "Something new"
