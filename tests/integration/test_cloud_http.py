"""The HTTP contract on a real process: who may do what, and what nobody may."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from fakes.cloud_device import FakeDevice, wait_until
from fakes.cloud_process import ADMIN_PASSWORD, CHECKOUT, NURSE_PASSWORD, CloudProcess
from psycopg import sql

from deploy.local.servers.mosquitto import MosquittoServer
from deploy.local.servers.postgres import PostgresServer
from wardstream.contracts.device import ModelCommand
from wardstream.contracts.errors import ConfigurationError
from wardstream.contracts.frame import BEDSIDE_V1
from wardstream.contracts.identity import Lane

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a published version leaves on disk: only the shape matters here."""
    outside = tmp_path_factory.mktemp("outside")
    folder = outside / "repository"
    (folder / "metadata").mkdir(parents=True)
    (folder / "targets" / "rhythm" / "2").mkdir(parents=True)
    digest = "c" * 64
    signed = {"targets": {"rhythm/2/manifest.json": {"hashes": {"sha256": digest}, "length": 1}}}
    (folder / "metadata" / "2.targets.json").write_text(json.dumps({"signed": signed}))
    manifest = {"created_time_ns": 7, "sha256": "d" * 64, "metrics": {"vf_sensitivity": 0.9}}
    (folder / "targets" / "rhythm" / "2" / f"{digest}.manifest.json").write_text(
        json.dumps(manifest)
    )
    (outside / "secret.txt").write_text("secret")
    (folder / "targets" / "link.txt").symlink_to(outside / "secret.txt")
    return folder


@pytest.fixture(scope="module", params=["timescale", "plain"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One migrated database for the module, on either kind of server."""
    server: PostgresServer = request.getfixturevalue(f"postgres_{request.param}")
    name = f"http_{uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as link:
        link.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    subprocess.run(
        [sys.executable, "-m", "deploy.database", "migrate", "--url", server.url(name)],
        cwd=CHECKOUT,
        check=True,
    )
    yield server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as link:
        link.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def mosquitto(server_folder: Path) -> Iterator[MosquittoServer]:
    try:
        server = MosquittoServer(server_folder / "mosquitto-http", ["bed-01", "bed-02", "bed-03"])
        server.start()
    except ConfigurationError as error:
        pytest.skip(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cloud(
    database_url: str, mosquitto: MosquittoServer, repository: Path
) -> Iterator[CloudProcess]:
    more = {"CLOUD_MODEL_REPOSITORY_DIR": str(repository)}
    with CloudProcess(database_url, mosquitto.url("cloud"), **more) as process:
        yield process


@pytest.fixture
def device(mosquitto: MosquittoServer) -> Iterator[FakeDevice]:
    """A new life of the one device of these tests."""
    with FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as fake:
        fake.beat()
        yield fake


@pytest.fixture
def browser(cloud: CloudProcess) -> Iterator[httpx.Client]:
    """A browser in which the nurse signed in."""
    with httpx.Client(base_url=cloud.url, timeout=10) as client:
        body = {"username": "nurse", "password": NURSE_PASSWORD}
        client.post("/api/session", json=body).raise_for_status()
        yield client


def test_the_session_cookie_is_kept_from_scripts_and_other_sites_and_ends_with_sign_out(
    cloud: CloudProcess, browser: httpx.Client
) -> None:
    answer = httpx.post(
        f"{cloud.url}/api/session", json={"username": "nurse", "password": NURSE_PASSWORD}
    )
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("wardstream_session=")
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.json()["roles"] == ["nurse"]
    assert browser.get("/api/session").json()["username"] == "nurse"
    token = browser.cookies["wardstream_session"]
    headers = {"X-Requested-With": "wardstream"}
    assert browser.delete("/api/session", headers=headers).status_code == 204
    stolen = httpx.get(f"{cloud.url}/api/session", headers={"Authorization": f"Bearer {token}"})
    assert stolen.status_code == 401
    assert stolen.headers["content-type"] == "application/problem+json"


def test_nothing_but_the_page_health_and_signed_content_is_shown_without_a_session(
    cloud: CloudProcess,
) -> None:
    with httpx.Client(base_url=cloud.url) as nobody:
        for path in ("beds", "alerts", "devices", "models", "stream", "dead-letters", "session"):
            assert nobody.get(f"/api/{path}").status_code == 401, path
        assert nobody.get("/api/health").status_code == 200
        assert nobody.get("/models/metadata/2.targets.json").status_code == 200
        forged = "eyJhbGciOiJub25lIn0.eyJzaWQiOiJ4In0."
        for token in (forged, "x", "a.b.c"):
            headers = {"Authorization": f"Bearer {token}"}
            assert nobody.get("/api/beds", headers=headers).status_code == 401


def test_an_unsafe_request_with_the_cookie_must_come_from_our_page(
    cloud: CloudProcess, browser: httpx.Client
) -> None:
    path = f"/api/alerts/{uuid4()}/acknowledgement"
    assert browser.post(path, json={}).status_code == 403
    foreign = {"Origin": "https://elsewhere.example"}
    assert browser.post(path, json={}, headers=foreign).status_code == 403
    assert browser.post(path, json={}, headers={"Origin": cloud.url}).status_code == 404
    ours = {"X-Requested-With": "wardstream"}
    assert browser.post(path, json={}, headers=ours).status_code == 404
    assert cloud.client().post(path, json={}).status_code == 404  # a bearer token is no cookie


def test_roles_decide_who_acknowledges_judges_commands_and_inspects(cloud: CloudProcess) -> None:
    nurse, admin = cloud.client("nurse"), cloud.client("admin")
    alert = uuid4()
    command = {"action": "install", "version": 2, "site_id": "site-1", "device_id": "bed-01"}
    assert admin.post(f"/api/alerts/{alert}/acknowledgement").status_code == 403
    assert admin.post(f"/api/alerts/{alert}/verdict", json={"verdict": "true"}).status_code == 403
    assert nurse.post("/api/models/commands", json=command).status_code == 403
    assert nurse.get("/api/dead-letters").status_code == 403
    assert admin.get("/api/dead-letters").json() == []


def test_a_wrong_password_and_an_unknown_name_look_the_same_and_soon_must_wait(
    cloud: CloudProcess,
) -> None:
    answers: list[tuple[int, str]] = []
    for name in ("nurse", "nobody"):
        answer = httpx.post(
            f"{cloud.url}/api/session", json={"username": name, "password": "wrong-password"}
        )
        answers.append((answer.status_code, answer.json()["detail"]))
    assert answers[0] == answers[1]
    codes: list[int] = []
    for _ in range(6):
        answer = httpx.post(
            f"{cloud.url}/api/session", json={"username": "nobody", "password": "wrong-password"}
        )
        codes.append(answer.status_code)
    assert codes[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    assert httpx.post(f"{cloud.url}/api/session", json=body).status_code == 200


def test_a_model_command_is_published_retained_and_listed_with_what_the_fleet_runs(
    cloud: CloudProcess, device: FakeDevice
) -> None:
    admin = cloud.client("admin")
    command = {"action": "install", "version": 2, "site_id": "site-1", "device_id": "bed-01"}
    answer = admin.post("/api/models/commands", json=command)
    assert answer.status_code == 202
    assert answer.json()["published_time_ns"] is not None
    wait_until(lambda: bool(admin.get("/api/models").json()["devices"]), "device listed")
    models = admin.get("/api/models").json()
    assert models["versions"][0]["version"] == 2
    assert models["versions"][0]["metrics"] == {"vf_sensitivity": 0.9}
    assert models["devices"][0]["version"] == 1
    assert models["commands"][0]["command_id"] == answer.json()["command_id"]
    assert ModelCommand.SCHEMA == "model_command/1"
    bad = command | {"site_id": "../x"}
    assert admin.post("/api/models/commands", json=bad).status_code == 422


def test_a_verdict_is_kept_with_its_author(cloud: CloudProcess, mosquitto: MosquittoServer) -> None:
    nurse = cloud.client()
    with FakeDevice(mosquitto.url("bed-01"), "bed-01", "bed-a") as device:
        event = device.raise_alert()
        wait_until(lambda: device.watermarks.get(Lane.ALERT) == 0, "stored")
    path = f"/api/alerts/{event.alert_id}"
    answer = nurse.post(f"{path}/verdict", json={"verdict": "false", "comment": "motion"})
    assert answer.status_code == 201
    assert nurse.post(f"{path}/verdict", json={"verdict": "maybe"}).status_code == 422
    verdicts = nurse.get(path).json()["verdicts"]
    assert [(one["verdict"], one["author"], one["comment"]) for one in verdicts] == [
        ("false", "nurse", "motion")
    ]


def test_no_path_leads_out_of_the_folders(cloud: CloudProcess) -> None:
    with httpx.Client(base_url=cloud.url) as nobody:
        for path in (
            "/models/targets/../../secret.txt",
            "/models/targets/..%2f..%2fsecret.txt",
            "/models/targets/%2e%2e/%2e%2e/secret.txt",
            "/models/targets/link.txt",
            "/models/targets//etc/passwd",
            "/models/metadata/%00",
            "/models/other/x",
            "/models/metadata/",
            "/../settings.py",
            "/%2e%2e/%2e%2e/settings.py",
            "/..%2f..%2fsettings.py",
        ):
            request = httpx.Request("GET", cloud.url)
            request = nobody.build_request("GET", "/")
            request.url = request.url.copy_with(raw_path=path.encode())
            assert nobody.send(request).status_code == 404, path


def test_every_answer_limits_the_browser_and_states_are_kept_by_nobody(
    cloud: CloudProcess, browser: httpx.Client
) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-cache"
    unchanged = browser.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert unchanged.status_code == 304
    assert browser.get("/api/beds").headers["cache-control"] == "no-store"
    missing = browser.get("/api/nothing")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.headers["x-frame-options"] == "DENY"
    large = browser.post("/api/session", content=b"x" * 70_000)
    assert large.status_code == 413


def test_numerics_frames_and_context_come_from_the_store(
    cloud: CloudProcess, device: FakeDevice, database_url: str
) -> None:
    client = cloud.client()
    wait_until(
        lambda: [one["boot_id"] for one in client.get("/api/devices").json()] == [device.boot_id],
        "this life of the device",
    )
    now_ns = time.time_ns()
    _insert_frames(database_url, device.boot_id, now_ns, n_frames=5)
    bed = client.get("/api/beds").json()[0]
    assert bed["numerics"]["values"]["heart_rate_per_min"] == 84.0
    assert bed["numerics"]["values"]["spo2_percent"] is None
    assert bed["numerics"]["time_ns"] == now_ns // 1000 * 1000 + 4_000_000_000
    assert bed["numerics"]["age_s"] < 60
    assert bed["patient"] == {
        "pseudonym": "p-1",
        "age_years": 71,
        "problems": ["COPD"],
        "news2_low": 2,
        "news2_high": 5,
    }
    frames = client.get("/api/beds/bed-a/frames?limit=3").json()
    assert [frame["sequence_number"] for frame in frames] == [2, 3, 4]
    assert set(frames[0]["values"]) == set(BEDSIDE_V1.names)
    assert client.get("/api/beds/bed-a/numerics").json()["values"] == bed["numerics"]["values"]
    assert client.get("/api/beds/bed-z/frames").status_code == 404
    assert client.get("/api/beds/BED/numerics").status_code == 422


def _insert_frames(url: str, boot_id: str, now_ns: int, n_frames: int) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("SELECT ensure_chunks('feature_frame', now() - interval '1 day', now())")
        for number in range(n_frames):
            time_ns = now_ns // 1000 * 1000 + number * 1_000_000_000
            link.execute(
                "INSERT INTO feature_frame (device_id, boot_id, sequence_number, time,"
                " start_time_ns, monotonic_ns, received_time_ns, generation_mode, bed_id,"
                " pseudonym, age_years, problems, news2_low, news2_high, heart_rate_per_min)"
                " VALUES ('bed-01', %s, %s, to_timestamp(%s / 1e9), %s, 0, %s, 'test', 'bed-a',"
                " 'p-1', 71, ARRAY['COPD'], 2, 5, %s)",
                (boot_id, number, time_ns, time_ns, time_ns, 80 + number),
            )


def test_metrics_count_and_name_no_device(cloud: CloudProcess, device: FakeDevice) -> None:
    device.raise_alert()
    wait_until(lambda: device.watermarks.get(Lane.ALERT) == 0, "stored")
    text = httpx.get(f"{cloud.url}/metrics").text
    assert "cloud_alert_events_total" in text
    assert "bed-01" not in text


def test_the_audit_log_is_sealed_and_cannot_be_changed(
    cloud: CloudProcess, database_url: str
) -> None:
    assert cloud.client("admin").get("/api/session").status_code == 200
    with psycopg.connect(database_url, autocommit=True) as link:
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            link.execute("UPDATE audit_log SET actor = 'somebody'")
        assert cloud.command("audit", "verify") == 0
        link.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        link.execute("UPDATE audit_log SET actor = 'somebody' WHERE entry_number = 1")
    assert cloud.command("audit", "verify") == 65


def test_a_user_is_added_on_the_command_line_and_signs_in(cloud: CloudProcess) -> None:
    arguments = ("user", "add", "meier", "--role", "physician", "--password-stdin")
    assert cloud.command(*arguments, stdin="short\n") == 78
    assert cloud.command(*arguments, stdin="a-long-password\n") == 0
    assert cloud.command(*arguments, stdin="a-long-password\n") == 2
    client = cloud.client("meier", "a-long-password")
    assert client.get("/api/session").json()["roles"] == ["physician"]


def test_wrong_settings_are_all_listed_and_exit_with_78(cloud: CloudProcess) -> None:
    wrong = {"CLOUD_HTTP_PORT": "x", "CLOUD_MQTT_URL": "http://x", "CLOUD_HTPP_HOST": "typo"}
    code, errors = cloud.try_start(wrong)
    assert code == 78
    for name in wrong:
        assert name in errors
    assert "0123456789abcdef" not in errors
