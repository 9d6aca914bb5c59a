"""Sessions, roles, throttling and settings."""

from pathlib import Path

import pytest

from cloud_api.adapters.audit import AuditEntry, seal
from cloud_api.adapters.passwords import Argon2Passwords
from cloud_api.adapters.tokens import SessionTokens
from cloud_api.core.errors import (
    ApiRefusedError,
    ForbiddenError,
    NotFoundError,
    NotSignedInError,
    TooManyAttemptsError,
)
from cloud_api.core.staff import (
    ALLOWED,
    IDLE_S,
    Permission,
    Principal,
    Role,
    SessionRow,
    parse_roles,
)
from cloud_api.core.throttle import AttemptThrottle
from cloud_api.http.files import serve_file
from cloud_api.settings import CloudSettings, read_settings
from wardstream.contracts.errors import ConfigurationError, OutOfRangeError

S = 1_000_000_000
SESSION = "5f0ab1f6-62a4-4d5e-9a52-9ad1a1e3c0d7"


def principal(*roles: Role) -> Principal:
    return Principal(
        username="meier", roles=frozenset(roles), session_id=SESSION, expires_time_ns=1_000 * S
    )


@pytest.mark.parametrize("role", Role)
def test_only_clinicians_acknowledge_and_judge_and_only_operations_command(role: Role) -> None:
    clinical = {Role.NURSE, Role.PHYSICIAN}
    for permission in Permission:
        allowed = role in ALLOWED[permission]
        if permission in (Permission.ACKNOWLEDGE, Permission.JUDGE):
            assert allowed == (role in clinical)
        if allowed:
            principal(role).require(permission)
        else:
            with pytest.raises(ForbiddenError):
                principal(role).require(permission)


def test_unknown_or_no_roles_are_refused() -> None:
    with pytest.raises(OutOfRangeError, match="surgeon"):
        parse_roles(["nurse", "surgeon"])
    with pytest.raises(OutOfRangeError):
        parse_roles([])


def test_five_failures_are_free_and_time_forgives_them() -> None:
    throttle = AttemptThrottle(burst=5, refill_s=10.0)
    for _ in range(5):
        throttle.check("a", 0)
        throttle.fail("a", 0)
    with pytest.raises(TooManyAttemptsError) as refused:
        throttle.check("a", 0)
    assert refused.value.retry_after_s == 10
    throttle.check("b", 0)
    throttle.check("a", 10 * S)
    throttle.forgive("a")
    throttle.check("a", 0)


def test_a_session_idles_out_and_ends_with_the_shift_whichever_is_first() -> None:
    row = SessionRow(
        session_id=SESSION,
        username="meier",
        roles=frozenset({Role.NURSE}),
        issued_time_ns=0,
        expires_time_ns=8 * 3600 * S,
        seen_time_ns=0,
        ended=False,
    )
    assert row.live_until_ns() == IDLE_S * S
    late = SessionRow(**{f: getattr(row, f) for f in row.__slots__} | {"seen_time_ns": 28_000 * S})
    assert late.live_until_ns() == 8 * 3600 * S


def test_a_token_is_only_good_for_its_time_its_secret_and_whole() -> None:
    tokens = SessionTokens("a" * 32)
    token = tokens.issue(principal(Role.NURSE), 0)
    assert tokens.session_id(token, 999 * S) == SESSION
    head, body, signature = token.split(".")
    flipped = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    for bad, now_ns in (
        (token, 1_001 * S),
        (f"{head}.{body}.{flipped}", 0),
        (f"{head}.{body}.", 0),
        (SessionTokens("b" * 32).issue(principal(Role.NURSE), 0), 0),
        ("", 0),
        ("é.é.é", 0),
    ):
        with pytest.raises(NotSignedInError):
            tokens.session_id(bad, now_ns)


def test_a_password_verifies_and_a_foreign_hash_does_not() -> None:
    passwords = Argon2Passwords()
    stored = passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert passwords.verify("correct horse", stored)
    assert not passwords.verify("wrong horse", stored)
    assert not passwords.verify("correct horse", "plain")


def test_every_refusal_has_a_client_error_status() -> None:
    for kind in ApiRefusedError.__subclasses__():
        assert 400 <= kind.status < 500


def test_a_seal_depends_on_every_field_and_on_what_came_before() -> None:
    entry = AuditEntry(actor="a", action="b", subject="c", detail="d", time_ns=1)
    seals = {
        seal(bytes(32), 1, entry),
        seal(b"\1" * 32, 1, entry),
        seal(bytes(32), 2, entry),
        seal(bytes(32), 1, AuditEntry(actor="ab", action="", subject="c", detail="d", time_ns=1)),
    }
    assert len(seals) == 4


@pytest.mark.parametrize("path", ["../secret", "..", "", "sub", "/etc/passwd", "a\0b", "link"])
def test_no_file_outside_the_folder_is_served(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("x")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFoundError):
        serve_file(root, path, {})


GOOD = {
    "CLOUD_DATABASE_URL": "postgresql://u:dbsecret@h/d",
    "CLOUD_MQTT_URL": "mqtt://cloud:p%40ss@h:1884",
    "CLOUD_SESSION_SECRET": "s" * 32,
}


def settings(monkeypatch: pytest.MonkeyPatch, **more: str) -> CloudSettings:
    environment = GOOD | more
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings(CloudSettings, environment)


def test_good_settings_are_read_and_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(monkeypatch)
    assert (read.broker.host, read.broker.port, read.broker.password) == ("h", 1884, "p@ss")
    assert not read.cookie_is_secure
    shown = repr(read)
    assert "dbsecret" not in shown
    assert "p%40ss" not in shown
    assert "ssss" not in shown


def test_every_problem_is_listed_misspelt_names_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(
            monkeypatch,
            CLOUD_SESSION_SECRET="short",
            CLOUD_MQTT_URL="tcp://h",
            CLOUD_SILENCE="10",
            CLOUD_INSTANCE="A B",
        )
    text = "\n".join(refused.value.problems)
    for name in ("CLOUD_SESSION_SECRET", "CLOUD_MQTT_URL", "CLOUD_SILENCE ", "CLOUD_INSTANCE"):
        assert name in text


def test_other_machines_are_not_served_a_cookie_in_the_clear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings(monkeypatch, CLOUD_HTTP_HOST="0.0.0.0").cookie_is_secure
    with pytest.raises(ConfigurationError, match="serves other machines"):
        settings(monkeypatch, CLOUD_HTTP_HOST="0.0.0.0", CLOUD_SECURE_COOKIE="false")
