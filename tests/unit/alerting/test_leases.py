from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardstream.alerting.bed_alerts import Holder
from wardstream.alerting.leases import MAX_STATIONS, Leases
from wardstream.contracts.alert import Condition
from wardstream.contracts.authority import (
    Authority,
    PatientLimitsCommand,
    SilenceCommand,
    StationLease,
    signing_bytes,
)
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

BOOT = "00000000-0000-4000-8000-0000000000aa"
STATION = "00000000-0000-4000-8000-0000000000bb"
NOW = TimestampNs(1_000 * NS_PER_S)


def lease(**changes: Any) -> StationLease:
    fields: dict[str, Any] = {
        "station_id": STATION,
        "device_id": "bed-1",
        "boot_id": BOOT,
        "holder": "nurse",
        "sequence_number": 1,
        "issued_time_ns": NOW,
        "expires_time_ns": TimestampNs(NOW + 2 * NS_PER_S),
    }
    return StationLease(**(fields | changes))


def silence(**changes: Any) -> SilenceCommand:
    fields: dict[str, Any] = {
        "command_id": BOOT,
        "silence_id": STATION,
        "device_id": "bed-1",
        "kind": Condition.AUDIO_PAUSED,
        "author": "nurse",
        "authority": Authority.CARE,
        "station_id": STATION,
        "issued_time_ns": NOW,
        "expires_time_ns": TimestampNs(NOW + 120 * NS_PER_S),
    }
    return SilenceCommand(**(fields | changes))


def test_a_lease_holds_for_its_length_by_the_monotonic_clock() -> None:
    leases = Leases("bed-1", BOOT)
    assert leases.take(lease(), NOW, 0) is None
    assert leases.holders(2 * NS_PER_S - 1) == {Holder(STATION, "nurse")}
    assert leases.holders(2 * NS_PER_S) == frozenset()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device_id": "bed-2"}, "another device"),
        ({"boot_id": STATION}, "another life"),
        ({"sequence_number": 0}, "played back"),
        ({"expires_time_ns": TimestampNs(NOW + 1)}, "lapsed"),
    ],
)
def test_what_is_not_for_this_life_of_this_device_or_old_is_refused(changes, why) -> None:
    leases = Leases("bed-1", BOOT)
    first = lease(sequence_number=1, expires_time_ns=TimestampNs(NOW + NS_PER_S))
    assert leases.take(first, NOW, 0) is None
    refused = leases.take(lease(**({"sequence_number": 2} | changes)), TimestampNs(NOW + 1), 5)
    assert refused is not None
    assert why in refused
    assert leases.holders(NS_PER_S) == frozenset()


@given(
    lag_ns=st.integers(-5 * NS_PER_S, 5 * NS_PER_S),
    lasts_ns=st.integers(1, 5 * NS_PER_S),
    begun_ns=st.integers(0, 2**62),
)
def test_no_clock_makes_a_lease_longer_than_it_says(lag_ns, lasts_ns, begun_ns) -> None:
    leases = Leases("bed-1", BOOT)
    said = lease(expires_time_ns=TimestampNs(NOW + lasts_ns))
    leases.take(said, TimestampNs(NOW + lag_ns), begun_ns)
    assert leases.holders(begun_ns + lasts_ns) == frozenset()


def test_stations_are_forgotten_rather_than_collected() -> None:
    leases = Leases("bed-1", BOOT)
    for number in range(3 * MAX_STATIONS):
        station_id = f"00000000-0000-4000-8000-{number:012x}"
        leases.take(lease(station_id=station_id), NOW, number)
    assert len(leases.holders(0)) <= MAX_STATIONS


@pytest.mark.parametrize(
    "make",
    [
        lambda: lease(expires_time_ns=TimestampNs(NOW + 6 * NS_PER_S)),
        lambda: lease(holder=""),
        lambda: silence(kind=Condition.ASYSTOLE),
        lambda: silence(scope=Condition.ASYSTOLE),
        lambda: silence(expires_time_ns=TimestampNs(NOW + 601 * NS_PER_S)),
        lambda: silence(kind=Condition.AUDIO_OFF),
        lambda: silence(kind=Condition.ALARM_PAUSED, scope=Condition.AUDIO_OFF),
    ],
    ids=["too long", "nobody", "no silence", "scoped audio", "long pause", "no reason", "silenced"],
)
def test_orders_that_cannot_be_meant_cannot_be_made(make) -> None:
    with pytest.raises(OutOfRangeError):
        make()


@given(st.data())
def test_what_is_signed_changes_with_every_field_and_with_nothing_else(data) -> None:
    order = silence()
    assert signing_bytes(replace(order, signature="x")) == signing_bytes(order)
    changed = {
        "author": "other",
        "scope": None,
        "ends": True,
        "device_id": "bed-2",
        "station_id": BOOT,
        "seen": {BOOT: 1},
    }
    name = data.draw(st.sampled_from([n for n in changed if n != "scope"]))
    assert signing_bytes(replace(order, **{name: changed[name]})) != signing_bytes(order)
    assert signing_bytes(decode(encode(order), SilenceCommand)) == signing_bytes(order)


def test_limits_sign_alike_after_their_journey() -> None:
    order = PatientLimitsCommand(
        command_id=BOOT,
        device_id="bed-1",
        author="physician",
        limits={},
        issued_time_ns=NOW,
        expires_time_ns=TimestampNs(NOW + NS_PER_S),
    )
    assert signing_bytes(decode(encode(order), PatientLimitsCommand)) == signing_bytes(order)
