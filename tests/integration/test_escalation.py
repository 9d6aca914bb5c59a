"""An alert that nobody answers goes up the ladder of the site, on a real database and broker."""

from collections.abc import Iterator

import pytest
from fakes.cloud_device import FakeDevice, wait_until
from fakes.cloud_process import CloudProcess

from deploy.local.servers.mosquitto import MosquittoServer
from wardstream.contracts.alert import Transition

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def cloud(database_url: str, mosquitto: MosquittoServer) -> Iterator[CloudProcess]:
    ladder = {"CLOUD_ESCALATE_AFTER_S": "[0, 4, 8]", "CLOUD_ESCALATION_DELIVERY_S": "2"}
    with CloudProcess(database_url, mosquitto.url("cloud"), **ladder) as process:
        yield process


@pytest.fixture
def device(mosquitto: MosquittoServer) -> Iterator[FakeDevice]:
    with FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as fake:
        fake.beat()
        yield fake


def test_nobody_answers_nobody_is_shown_then_somebody_is_and_an_answer_ends_it(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    nurse = cloud.client("nurse")
    event = device.raise_alert()
    path = f"/api/alerts/{event.alert_id}"
    wait_until(lambda: nurse.get(path).status_code == 200, "alert stored")

    def calls() -> list[str]:
        told = nurse.get(path).json()["events"]
        return [one["actor"] for one in told if one["transition"] == "escalated"]

    def level() -> int:
        escalation = nurse.get(path).json()["escalation"]
        return -1 if escalation is None else escalation["level"]

    # No station shows it: the second nurse is called after 2 s, not after 4.
    wait_until(lambda: calls() == ["second_nurse"], "the second nurse is called", 6)
    assert level() == 1
    shown = nurse.post(f"{path}/calls/1/shown")
    assert shown.status_code == 204
    assert nurse.get(path).json()["escalation"]["delivered_to"] == "nurse"
    # That call arrived, so the physician has the time the site gives.
    wait_until(lambda: calls() == ["second_nurse", "physician"], "the physician is called", 12)
    # A nurse's station is not the physician's.
    nurse.post(f"{path}/calls/2/shown")
    assert nurse.get(path).json()["escalation"]["delivered_to"] is None

    nurse.post(f"{path}/acknowledgement", json={}).raise_for_status()
    wait_until(lambda: nurse.get(path).json()["presence"] == "ack", "the bed confirms")
    # Notes moved nothing: the alert stands as the bed says, and its history is whole.
    told = [one["transition"] for one in nurse.get(path).json()["events"]]
    assert told == ["onset", "escalated", "delivered", "escalated", "acknowledged"]

    device.change(event, Transition.REACTIVATED)
    wait_until(lambda: calls()[2:] == ["second_nurse"], "the ladder begins anew", 8)
