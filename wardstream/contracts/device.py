"""What a device says about itself, and what operations tell it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final

from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.identity import check_boot_id, check_id
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import GenerationMode


class Connectivity(StrEnum):
    """Whether the device's link is up; `LOST` is what the MQTT will says."""

    ONLINE = "online"
    STOPPED = "stopped"
    LOST = "lost"


class ModelState(StrEnum):
    """How the last model command went."""

    RUNNING = "running"
    INSTALLING = "installing"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    """No model runs; the rules alarm alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """Which model judges on the device, and why an offered one does not.

    Attributes
    ----------
    state : ModelState
        Outcome of the last command.
    version : int
        Version that judges now; 0 if none does.
    sha256 : str
        Digest of its artifact; empty if none.
    refused_version : int or None
        Version that was offered and refused last.
    reason : str
        Why, in words for an operator; empty unless refused or unavailable.
    n_windows_judged, n_windows_unjudged : int
        Since boot. The second counts windows no model judged although one was due.
    backend : str
        What runs it, for example ``onnxruntime``; empty if nothing does.
    backends : tuple of str
        How every back end that was tried did on this device, a sentence each.
    latency_p50_ms, golden_error : float or None
        Of `backend` as it was measured: a window's median time, and the largest difference from
        the golden answers.
    n_lost, n_recovered : int
        Times it was given up in use because it hung, crawled or failed, and times it came back.
    """

    state: ModelState
    version: int
    sha256: str
    refused_version: int | None = None
    reason: str = ""
    n_windows_judged: int = 0
    n_windows_unjudged: int = 0
    backend: str = ""
    backends: tuple[str, ...] = ()
    latency_p50_ms: float | None = None
    golden_error: float | None = None
    n_lost: int = 0
    n_recovered: int = 0


MAX_QUARANTINE_REPORTS: Final = 32
"""In one status; the last of a longer list says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineReport:
    """A channel or a kind of message that the device gets and does not judge.

    Attributes
    ----------
    channel : str
        In the words of the source; never a patient's.
    reason : str
        Why, for people.
    count : int
        How often since boot, at least 1.
    """

    channel: str
    reason: str
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise OutOfRangeError(f"count is {self.count}, expected at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """The retained heartbeat of one device.

    Attributes
    ----------
    site_id, unit_id, bed_id, device_id : str
        Where the device stands; it knows beds, never patients.
    boot_id : str
        UUID of this life of the agent.
    connectivity : Connectivity
        As the device, or its MQTT will, says.
    generation_mode : GenerationMode
        Whether its curves are a patient's.
    source : str
        What it acquires from, for example ``wfdb:cu01`` or ``simulator``.
    agent_version : str
        Version of the agent software.
    reported_time_ns : TimestampNs
        Device wall clock when this was said; 0 in a will.
    last_sample_time_ns : TimestampNs
        Clock of the data at the newest sample; 0 before the first.
    model : ModelReport
        What judges.
    outbox_rows, outbox_bytes : dict of lane to int
        What waits for the watermark.
    channels : tuple of str
        Reference ids of the channels acquired so far.
    quarantined : tuple of QuarantineReport
        What is acquired and not judged, with the reason.
    """

    SCHEMA: ClassVar[str] = "device_status/1"

    site_id: str
    unit_id: str
    bed_id: str
    device_id: str
    boot_id: str
    connectivity: Connectivity
    generation_mode: GenerationMode
    source: str
    agent_version: str
    reported_time_ns: TimestampNs
    last_sample_time_ns: TimestampNs
    model: ModelReport
    outbox_rows: dict[str, int] = field(default_factory=dict[str, int])
    outbox_bytes: dict[str, int] = field(default_factory=dict[str, int])
    channels: tuple[str, ...] = ()
    quarantined: tuple[QuarantineReport, ...] = ()

    def __post_init__(self) -> None:
        check_id(self.site_id, "site_id")
        check_id(self.unit_id, "unit_id")
        check_id(self.bed_id, "bed_id")
        check_id(self.device_id, "device_id")
        check_boot_id(self.boot_id)


class ModelAction(StrEnum):
    """What operations want done."""

    INSTALL = "install"
    """Fetch, verify, qualify and swap to `version`."""
    ROLLBACK = "rollback"
    """Return to the last known good model that is kept on the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCommand:
    """Announced to one device (`device_id` set) or to a whole site (None).

    It names a version only; the bytes come from the signed repository, so a forged command
    can at worst offer what was signed anyway.

    Attributes
    ----------
    command_id : str
        UUID; a repeat is recognised and changes nothing.
    action : ModelAction
        Install or rollback.
    version : int
        For install: the version to fetch, at least 1. For rollback: 0.
    issued_time_ns : TimestampNs
        When it was issued.
    author : str
        Staff user name.
    """

    SCHEMA: ClassVar[str] = "model_command/1"

    command_id: str
    action: ModelAction
    version: int
    issued_time_ns: TimestampNs
    author: str
    device_id: str | None = None

    def __post_init__(self) -> None:
        check_boot_id(self.command_id)
        if self.device_id is not None:
            check_id(self.device_id, "device_id")
        if self.action is ModelAction.INSTALL and self.version < 1:
            raise OutOfRangeError(f"version is {self.version}, expected at least 1")
