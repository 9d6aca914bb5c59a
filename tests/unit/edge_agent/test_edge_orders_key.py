"""What a device believes is what a trusted key signed, exactly as it stands."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from cloud_api.adapters.signatures import OrderSigner
from cloud_api.cli import app
from deploy.local.order_keys import order_keys
from edge_agent.adapters.signatures import OrderVerifier
from edge_agent.adapters.site_alarms import read_site_alarms
from wardstream.contracts.alert import Condition
from wardstream.contracts.authority import Authority, SilenceCommand
from wardstream.contracts.codec import decode, encode
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs

PROFILE = b"""{"site_id": "demo", "version": 1, "author": "head-of-icu", "issued_time_ns": 1,
 "rules": {"hypotension": {"priority": "high"}}, "limits": {"spo2_percent": {"lower": 88.0}}}"""


def order() -> SilenceCommand:
    return SilenceCommand(
        command_id=str(uuid4()),
        silence_id=str(uuid4()),
        device_id="bed-1",
        kind=Condition.AUDIO_PAUSED,
        author="nurse",
        authority=Authority.CARE,
        station_id=str(uuid4()),
        issued_time_ns=TimestampNs(NS_PER_S),
        expires_time_ns=TimestampNs(2 * NS_PER_S),
    )


def test_a_signature_holds_for_its_message_alone(tmp_path: Path) -> None:
    private, public = order_keys(tmp_path)
    assert order_keys(tmp_path) == (private, public)  # drawn once
    assert private.stat().st_mode & 0o077 == 0
    sign, believes = OrderSigner(private), OrderVerifier(public)
    signed = sign(order())
    assert believes(decode(encode(signed), SilenceCommand))
    assert not believes(replace(signed, author="stranger"))
    assert not believes(replace(signed, signature=""))
    assert not believes(replace(signed, signature="?"))
    other = OrderVerifier(order_keys(tmp_path / "other")[1])
    assert not other(signed)


def test_old_and_new_key_may_be_trusted_together(tmp_path: Path) -> None:
    keys = [order_keys(tmp_path / name) for name in ("old", "new")]
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(public.read_bytes() for _, public in keys))
    believes = OrderVerifier(both)
    assert all(believes(OrderSigner(private)(order())) for private, _ in keys)


@pytest.mark.parametrize("text", [None, b"", b"-----BEGIN PUBLIC KEY-----\nx\n"])
def test_a_key_that_cannot_be_read_is_named(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigurationError, match="EDGE_ORDERS_KEY"):
        OrderVerifier(path)


def test_a_sites_profile_is_signed_by_command_and_refused_when_altered(tmp_path: Path) -> None:
    private, public = order_keys(tmp_path)
    plain, signed = tmp_path / "site.json", tmp_path / "site.signed.json"
    plain.write_bytes(PROFILE)
    command = ["sign-site-alarms", str(plain), "--key", str(private), "--out", str(signed)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert read_site_alarms(signed, "demo", public).version == 1
    for path, site, why in ((plain, "demo", "no trusted key"), (signed, "other", "is of site")):
        with pytest.raises(ConfigurationError, match=why):
            read_site_alarms(path, site, public)
    signed.write_bytes(signed.read_bytes().replace(b"88.0", b"58.0"))
    with pytest.raises(ConfigurationError, match="no trusted key"):
        read_site_alarms(signed, "demo", public)
