"""Every MQTT topic and Kafka topic, each bound to the one type it carries.

No topic, key or header names a patient: devices and beds only.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from wardstream.contracts.alert import AcknowledgeCommand, AlertEvent
from wardstream.contracts.authority import PatientLimitsCommand, SilenceCommand, StationLease
from wardstream.contracts.device import DeviceStatus, ModelCommand
from wardstream.contracts.errors import UnknownSchemaError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.identity import CommitWatermark, GapNotice, Lane, check_id
from wardstream.contracts.live import LiveCurves, LiveViewCommand
from wardstream.contracts.record import RecordEvent
from wardstream.contracts.waveform import AlertStrip

T_co = TypeVar("T_co", covariant=True)

ROOT: Final = "wardstream/v1"
FLEET: Final = "fleet"
"""Stands in the device level of a topic that addresses every device of a site."""


@dataclass(frozen=True, slots=True)
class MqttTopic(Generic[T_co]):
    """``wardstream/v1/{site}/{device}/{suffix}``.

    Attributes
    ----------
    message_type : type
        What every payload on it decodes to (a frame topic carries one or more frames).
    suffix : str
        Last levels of the topic.
    retained : bool
        Whether the broker keeps the last message for who comes later.
    from_device : bool
        Direction, for the broker's access list: devices write it, or read it.
    """

    message_type: type[T_co]
    suffix: str
    retained: bool
    from_device: bool

    def address(self, site_id: str, device_id: str) -> str:
        """Topic of one device, or of `FLEET`.

        Raises
        ------
        OutOfRangeError
            An id could break out of its topic level.
        """
        return f"{ROOT}/{check_id(site_id, 'site_id')}/{check_id(device_id, 'device_id')}/{self.suffix}"

    def filter(self, site_id: str = "+", *, shared_group: str = "") -> str:
        """Subscription to this topic of all devices; with `shared_group`, a shared one."""
        prefix = f"$share/{shared_group}/" if shared_group else ""
        return f"{prefix}{ROOT}/{site_id}/+/{self.suffix}"


ALERT: Final = MqttTopic(AlertEvent, "alert", retained=False, from_device=True)
FRAME: Final = MqttTopic(FeatureFrame, "frame", retained=False, from_device=True)
STRIP: Final = MqttTopic(AlertStrip, "strip", retained=False, from_device=True)
GAP: Final = MqttTopic(GapNotice, "gap", retained=False, from_device=True)
LIVE: Final = MqttTopic(LiveCurves, "live", retained=False, from_device=True)
LIVE_VIEW: Final = MqttTopic(LiveViewCommand, "live-view", retained=False, from_device=False)
STATUS: Final = MqttTopic(DeviceStatus, "status", retained=True, from_device=True)
ACKNOWLEDGEMENT: Final = MqttTopic(
    AcknowledgeCommand, "acknowledgement", retained=False, from_device=False
)
SILENCE: Final = MqttTopic(SilenceCommand, "silence", retained=False, from_device=False)
LEASE: Final = MqttTopic(StationLease, "lease", retained=False, from_device=False)
LIMITS: Final = MqttTopic(PatientLimitsCommand, "limits", retained=False, from_device=False)
MODEL_COMMAND: Final = MqttTopic(ModelCommand, "model", retained=True, from_device=False)
WATERMARK: Final[dict[Lane, MqttTopic[CommitWatermark]]] = {
    lane: MqttTopic(CommitWatermark, f"watermark/{lane}", retained=True, from_device=False)
    for lane in Lane
}

MQTT_TOPICS: Final = (
    ALERT,
    FRAME,
    STRIP,
    GAP,
    LIVE,
    LIVE_VIEW,
    STATUS,
    ACKNOWLEDGEMENT,
    SILENCE,
    LEASE,
    LIMITS,
    MODEL_COMMAND,
    *WATERMARK.values(),
)


@dataclass(frozen=True, slots=True)
class TopicAddress:
    """A concrete MQTT topic, taken apart."""

    site_id: str
    device_id: str
    topic: MqttTopic[object]


def parse_address(address: str) -> TopicAddress:
    """The parts of a concrete topic.

    Raises
    ------
    UnknownSchemaError
        It is not one of `MQTT_TOPICS`.
    OutOfRangeError
        An id in it is malformed.
    """
    levels = address.split("/", 4)
    if len(levels) == 5 and "/".join(levels[:2]) == ROOT:
        for topic in MQTT_TOPICS:
            if topic.suffix == levels[4]:
                return TopicAddress(
                    check_id(levels[2], "site_id"), check_id(levels[3], "device_id"), topic
                )
    raise UnknownSchemaError(f"MQTT topic {address!r} is not one of ours")


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A Kafka topic.

    Attributes
    ----------
    name : str
        Its name.
    carries : str
        What a record's value is.
    key : str
        What its key is: everything with one key stays in order.
    """

    name: str
    carries: str
    key: str


FEATURES: Final = KafkaTopic(
    "features",
    "FeatureFrames of one schema end to end, of any devices of the partition",
    "none: the bridge puts a device's frames into the partition its device_id would choose",
)
GAPS: Final = KafkaTopic("gaps", "GapNotice as JSON", "device_id")
ALERTS: Final = KafkaTopic(
    "alerts", "AlertEvent as JSON (a copy: the alarm path never waits for Kafka)", "device_id"
)
RECORD_EVENTS: Final = KafkaTopic("record-events", "RecordEvent as JSON", "bed_id")
OBSERVATIONS: Final = KafkaTopic(
    "observations",
    "What record systems state of a patient, by pseudonym, as JSON",
    "none: the record gateway chooses the partition",
)
DEVICE_STATUS: Final = KafkaTopic("device-status", "DeviceStatus as JSON", "device_id")
DEAD_LETTER: Final = KafkaTopic("dead-letter", "DeadLetter as JSON", "device_id or empty")

KAFKA_TOPICS: Final = (
    FEATURES,
    GAPS,
    ALERTS,
    RECORD_EVENTS,
    OBSERVATIONS,
    DEVICE_STATUS,
    DEAD_LETTER,
)

RECORD_EVENT_TYPE: Final = RecordEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that broke a contract, kept whole so that it can be read and replayed.

    Attributes
    ----------
    letter_id : str
        UUID version 5 of origin and payload: the same bad message twice is one letter.
    origin : str
        Topic it came from (MQTT address or Kafka topic), without a patient identifier.
    device_id : str
        Device the topic names; empty if the topic itself was malformed.
    reason : str
        Text of the `ContractError`.
    payload_base64 : str
        The bytes as they came.
    received_time_ns : int
        When it was refused.
    """

    letter_id: str
    origin: str
    device_id: str
    reason: str
    payload_base64: str
    received_time_ns: int
