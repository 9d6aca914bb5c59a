"""Silencing a bed from a real Chromium: always visible, by whom, for how long, and only while alive."""

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.dashboard_server import DashboardServer
from fakes.demonstration import make_alert
from playwright.sync_api import Page, expect

from cloud_api.core.views import AlertView, EscalationView
from wardstream.contracts.alert import Condition

pytestmark = pytest.mark.browser

SignIn = Callable[[Page, str, str], None]


def raise_alert(server: DashboardServer, bed_id: str = "bed-1") -> AlertView:
    ward = server.ward
    alert = replace(make_alert(ward.beds_by_id[bed_id], "asystole", "high"), revision=7)
    return server.do(lambda: ward.put_alert(alert))


def open_alert(page: Page, bed_id: str = "bed-1") -> None:
    page.click(f"[data-testid=tile][data-bed-id={bed_id}] [data-testid=alarm-band]")
    page.wait_for_selector("[data-testid=silence-form]")


def pause(page: Page, server: DashboardServer) -> AlertView:
    open_alert(page)
    page.click("[data-testid=silence-audio_paused]")
    page.wait_for_selector("[data-testid=silence]")
    return next(a for a in server.ward.alerts_by_id.values() if a.condition == "audio_paused")


def test_a_pause_names_what_was_seen_and_shows_author_and_countdown(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server)
    pause(ward_page, server)
    [request] = server.ward.silence_requests
    assert request.kind is Condition.AUDIO_PAUSED
    assert request.seconds == 120
    assert dict(request.seen) == {alert.alert_id: 7}
    line = ward_page.locator("[data-testid=silence]")
    expect(line).to_contain_text("AUDIO PAUSED")
    expect(line).to_contain_text("nurse")
    before = re.search(r"(\d):(\d\d)", line.inner_text())
    assert before is not None
    ward_page.wait_for_timeout(2_100)
    after = re.search(r"(\d):(\d\d)", line.inner_text())
    assert after is not None
    left = [60 * int(found[1]) + int(found[2]) for found in (before, after)]
    assert left[0] - left[1] in (1, 2, 3)
    ward_page.keyboard.press("Escape")
    tile = ward_page.locator("[data-testid=tile][data-bed-id=bed-1]")
    expect(tile.locator("[data-testid=tile-silence]")).to_contain_text("AUDIO PAUSED")
    expect(tile.locator("[data-testid=alarm-band]")).to_be_visible()  # light stays
    other = ward_page.locator("[data-testid=tile][data-bed-id=bed-2] [data-testid=tile-silence]")
    expect(other).to_be_hidden()


def test_a_silence_is_no_alarm(ward_page: Page, server: DashboardServer) -> None:
    raise_alert(server)
    pause(ward_page, server)
    expect(ward_page.locator("[data-testid=alarm-card]")).to_have_count(1)


def test_the_station_proves_twice_a_second_that_it_lives_and_stops_when_it_is_closed(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server)
    pause(ward_page, server)
    ward_page.wait_for_timeout(3_000)
    times = [time_s for time_s, _, _ in server.ward.renewals]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert len(times) >= 4
    assert max(gaps) < 1.5
    assert {who for _, who, _ in server.ward.renewals} == {"nurse"}
    assert {at for _, _, at in server.ward.renewals} == {server.ward.silence_requests[0].station_id}
    ward_page.close()
    time.sleep(0.5)
    n_renewals = len(server.ward.renewals)
    time.sleep(1.5)
    assert len(server.ward.renewals) == n_renewals


def test_a_reload_keeps_the_station_and_its_silence(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server)
    pause(ward_page, server)
    ward_page.reload()
    ward_page.wait_for_selector("[data-testid=tile-silence]:visible")
    n_renewals = len(server.ward.renewals)
    ward_page.wait_for_timeout(1_500)
    assert len(server.ward.renewals) > n_renewals
    assert len({at for _, _, at in server.ward.renewals}) == 1


def test_another_persons_silence_is_shown_but_not_held_up(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server)
    silence = pause(ward_page, server)
    assert silence.terms is not None
    foreign = replace(silence.terms, author="somebody-else")
    server.do(lambda: server.ward.put_alert(replace(silence, terms=foreign)))
    expect(ward_page.locator("[data-testid=silence]")).to_contain_text("somebody-else")
    ward_page.reload()  # what was just asked for is forgotten
    ward_page.wait_for_selector("[data-testid=tile-silence]:visible")
    n_renewals = len(server.ward.renewals)
    ward_page.wait_for_timeout(1_500)
    assert len(server.ward.renewals) == n_renewals


def test_a_silence_that_does_not_work_says_so(ward_page: Page, server: DashboardServer) -> None:
    raise_alert(server)
    silence = pause(ward_page, server)
    assert silence.terms is not None
    lapsed = replace(silence.terms, held=False)
    server.do(
        lambda: server.ward.put_alert(replace(silence, terms=lapsed, transition="lease_lost"))
    )
    line = ward_page.locator("[data-testid=silence]")
    expect(line).to_contain_text("NOT IN FORCE")
    expect(line).to_have_attribute("data-held", "false")


def test_a_silence_can_be_ended(ward_page: Page, server: DashboardServer) -> None:
    raise_alert(server)
    pause(ward_page, server)
    ward_page.click("[data-testid=end-silence]")
    expect(ward_page.locator("[data-testid=silence]")).to_have_count(0)


def test_only_a_physician_may_switch_off_and_only_with_a_reason(
    page: Page, server: DashboardServer, sign_in: SignIn
) -> None:
    sign_in(page, server.url, "physician")
    raise_alert(server)
    open_alert(page)
    page.click("[data-testid=silence-audio_off]")
    expect(page.locator("[data-testid=silence-said]")).to_contain_text("needs a reason")
    assert not server.ward.silence_requests
    page.fill("#silence-reason", "comfort care")
    page.click("[data-testid=silence-audio_off]")
    expect(page.locator("[data-testid=silence]")).to_contain_text("AUDIO OFF")
    assert server.ward.silence_requests[0].reason == "comfort care"


def test_a_nurse_is_not_offered_to_switch_off(ward_page: Page, server: DashboardServer) -> None:
    raise_alert(server)
    open_alert(ward_page)
    expect(ward_page.locator("[data-testid=silence-audio_off]")).to_be_hidden()
    expect(ward_page.locator("[data-testid=silence-alarm_paused]")).to_be_visible()


def test_a_refusal_is_said(ward_page: Page, server: DashboardServer) -> None:
    raise_alert(server)
    server.ward.refuses_orders = True
    open_alert(ward_page)
    ward_page.click("[data-testid=silence-audio_paused]")
    expect(ward_page.locator("[data-testid=silence-said]")).to_contain_text("signs no orders")


def test_what_is_paused_at_the_bed_is_quiet_at_the_station(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server)
    sound = ward_page.locator("[data-testid=sound]")
    sound.click()
    expect(sound).to_have_attribute("data-melody", "high")
    server.do(lambda: server.ward.put_alert(replace(alert, audible="paused")))
    expect(sound).not_to_have_attribute("data-melody", "high")
    server.do(lambda: server.ward.put_alert(replace(alert, audible="on")))
    expect(sound).to_have_attribute("data-melody", "high")


def test_a_call_is_shown_and_its_showing_confirmed(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server)
    call = EscalationView(
        level=1, role="second_nurse", called_time_ns=time.time_ns(), delivered_to=None
    )
    server.do(lambda: server.ward.put_alert(replace(alert, escalation=call)))
    expect(ward_page.locator("[data-testid=call]")).to_contain_text("second nurse")
    ward_page.wait_for_timeout(300)
    assert server.ward.calls_shown == [("nurse", alert.alert_id, 0), ("nurse", alert.alert_id, 1)]
