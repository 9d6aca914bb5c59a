"""The learning path, whole: a verdict in the page, a model trained from it, signed, and running.

The stack is the one people run; what is trained is small, but trained for real.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.running_stack import RunningStack, until

pytestmark = [pytest.mark.train, pytest.mark.data]

_BEDS = {"bed-01", "bed-02"}


@pytest.fixture
def stack(server_folder: Path) -> Iterator[RunningStack]:
    folder = server_folder / "a-model-reaches-every-bed"
    folder.mkdir()
    running = RunningStack(folder, seconds=900, beds=len(_BEDS))
    yield running
    running.end()


def models_of(api: httpx.Client) -> dict[str, dict[str, Any]]:
    """What each device runs, and what it refused."""
    fleet = api.get("/api/models").raise_for_status().json()
    return {device["device_id"]: device for device in fleet["devices"]}


def alerts_of(api: httpx.Client, bed_id: str) -> list[dict[str, Any]]:
    """Fibrillation alerts of one bed."""
    alerts = api.get("/api/alerts", params={"bed_id": bed_id, "limit": 100}).raise_for_status()
    return [a for a in alerts.json() if a["condition"] == "ventricular_fibrillation"]


@pytest.mark.timeout(900)
def test_a_signed_model_reaches_every_bed_and_a_tampered_one_none(
    stack: RunningStack, recordings: Path, tmp_path: Path
) -> None:
    stack.wait_until_ready({"api", "worker", "bridge", *_BEDS}, 240)
    nurse, admin = stack.api("nurse"), stack.api("admin")

    # Staff judge an alarm in the page; its strip becomes a labelled example.
    until(lambda: any(a["has_strip"] for a in alerts_of(nurse, "bed-01")), 120, "alert with strip")
    first = alerts_of(nurse, "bed-01")[0]
    assert first["model_version"] == "rhythm-2"
    given = nurse.post(f"/api/alerts/{first['alert_id']}/verdict", json={"verdict": "true"})
    assert given.status_code == 201

    bundle = tmp_path / "bundle"
    train = ("models", "train", "smoke", "--data", str(recordings), "--out", str(bundle), "--json")
    trained = json.loads(stack.command(*train, timeout_s=500))
    assert trained["n_verdicts"] == 1
    stack.command("models", "publish", str(bundle), "--gates", "smoke", "--data", str(recordings))

    def all_run(version: int) -> bool:
        return {m["version"] for m in models_of(nurse).values()} == {version}

    until(lambda: all_run(3), 60, "every bed runs version 3")
    assert len(models_of(nurse)) == len(_BEDS)

    # The next version is signed, then touched: it must reach nobody.
    manifest = json.loads((bundle / "manifest.json").read_text()) | {"version": 4}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    stack.command(
        "models", "publish", str(bundle), "--gates", "smoke", "--data", str(recordings),
        "--no-announce",
    )  # fmt: skip
    repository = Path(stack.stack_file()["environment"]["WARDSTREAM_MODEL_REPOSITORY_DIR"])
    graphs = list(repository.glob("targets/rhythm/4/*.onnx"))
    assert graphs
    for graph in graphs:
        graph.write_bytes(graph.read_bytes()[:-1] + b"\x00")
    order = {"action": "install", "version": 4, "device_id": None, "site_id": _site(stack)}
    headers = {"X-Requested-With": "wardstream"}
    admin.post("/api/models/commands", json=order, headers=headers).raise_for_status()
    until(
        lambda: {m["refused_version"] for m in models_of(nurse).values()} == {4},
        60,
        "every bed refuses version 4",
    )
    assert all_run(3)
    assert all(model["reason"] for model in models_of(nurse).values())

    # What is alarmed from now on was judged by the new model, and no window went unjudged.
    seen = {a["event_id"] for a in alerts_of(nurse, "bed-01")}
    nurse.post(
        f"/api/alerts/{first['alert_id']}/acknowledgement", json={"reason": "test"}
    ).raise_for_status()
    until(
        lambda: any(
            a["model_version"] == "rhythm-3" and a["event_id"] not in seen
            for a in alerts_of(nurse, "bed-01")
        ),
        200,
        "an alert judged by version 3",
    )
    assert {m["n_windows_unjudged"] for m in models_of(nurse).values()} == {0}

    stack.command("models", "rollback", next(iter(models_of(nurse))))
    until(
        lambda: sorted(m["version"] for m in models_of(nurse).values()) == [2, 3],
        60,
        "one bed returns to version 2",
    )


def _site(stack: RunningStack) -> str:
    return stack.stack_file()["environment"]["WARDSTREAM_SITE_ID"]
