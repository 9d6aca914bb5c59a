"""The page must never look healthy when it is not: stale data, lost links, ended sessions."""

import re
import time
from collections.abc import Callable

import pytest
from fakes.dashboard_server import DashboardServer
from fakes.demonstration import make_alert, make_numerics
from numpy.random import default_rng
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_a_bed_whose_numbers_stop_is_greyed_and_says_for_how_long(
    ward_page: Page, server: DashboardServer
) -> None:
    tile = ward_page.locator("[data-testid=tile][data-bed-id=bed-1]")
    expect(tile).to_have_attribute("data-stale", "false")
    assert _colour(tile, "[data-testid=numeric-hr]") == "rgb(91, 229, 132)"
    expect(tile).to_have_attribute("data-stale", "true")
    expect(tile.locator("[data-testid=freshness]")).to_have_text(re.compile(r"DATA DELAYED \d+ s"))
    assert _colour(tile, "[data-testid=numeric-hr]") == "rgb(120, 135, 154)"
    values = {"bed-1": make_numerics(default_rng(1), 0)}
    server.do(lambda: server.ward.put_numerics(values))
    expect(tile).to_have_attribute("data-stale", "false")
    expect(tile.locator("[data-testid=freshness]")).to_have_text("")


def test_a_missing_value_is_a_dash_not_a_zero(ward_page: Page, server: DashboardServer) -> None:
    server.do(lambda: server.ward.put_numerics({"bed-1": {"heart_rate_per_min": None}}))
    tile = ward_page.locator("[data-testid=tile][data-bed-id=bed-1]")
    for name in ("hr", "spo2", "abp", "rr", "temp"):
        expect(tile.locator(f"[data-testid=numeric-{name}] .numeric-value")).to_have_text("––")


def test_numerics_and_record_show_with_their_units(
    ward_page: Page, server: DashboardServer
) -> None:
    values = {
        "heart_rate_per_min": 71.6,
        "spo2_percent": 96.4,
        "abp_systolic_mmhg": 121.2,
        "abp_diastolic_mmhg": 78.0,
        "abp_mean_mmhg": 92.4,
        "respiration_rate_per_min": 15.7,
        "temperature_celsius": 36.84,
    }
    server.do(lambda: server.ward.put_numerics({"bed-2": values}))
    tile = ward_page.locator("[data-testid=tile][data-bed-id=bed-2]")
    shown = {
        name: tile.locator(f"[data-testid=numeric-{name}] .numeric-value")
        for name in ("hr", "spo2", "abp", "rr", "temp", "news2")
    }
    expect(shown["hr"]).to_have_text("72")
    expect(shown["spo2"]).to_have_text("96")
    expect(shown["abp"]).to_have_text("121/78 (92)")
    expect(shown["rr"]).to_have_text("16")
    expect(shown["temp"]).to_have_text("36.8")
    expect(shown["news2"]).to_have_text("3–4")
    expect(tile.locator("[data-testid=patient]")).to_have_text("51 y · COPD · pneumonia")


def test_each_bed_says_whether_its_patient_is_real(ward_page: Page) -> None:
    modes = ward_page.locator("[data-testid=tile] [data-testid=mode]")
    assert modes.all_inner_texts() == ["REAL", "TEST", "DEMO"]


def test_a_lost_server_covers_the_page_and_coming_back_misses_no_alarm(
    ward_page: Page, server: DashboardServer
) -> None:
    ward = server.ward
    seen = make_alert(ward.beds_by_id["bed-1"], "lead_off", "low")
    server.do(lambda: ward.put_alert(seen))
    ward_page.wait_for_selector(f"[data-alert-id='{seen.alert_id}']")
    ward.out_of_order = True
    server.do(ward.cut_streams)
    banner = ward_page.locator("[data-testid=lost-banner]")
    expect(banner).to_be_visible()
    expect(banner).to_contain_text("NOT MONITORING")
    stale = ward_page.locator("[data-testid=tile][data-stale=true]")
    expect(stale).to_have_count(3)
    expect(ward_page.locator("[data-testid=link-state]")).to_have_text("Connection lost")
    missed = make_alert(ward.beds_by_id["bed-2"], "asystole", "high")
    server.do(lambda: ward.put_alert(missed))
    ward.out_of_order = False
    expect(banner).to_be_hidden()
    ward_page.wait_for_selector(f"[data-testid=alarm-card][data-alert-id='{missed.alert_id}']")
    assert ward.resumed_from[-1] == ward.alerts_by_id[seen.alert_id].event_id


def test_a_link_that_is_open_but_silent_counts_as_lost(
    ward_page: Page, server: DashboardServer
) -> None:
    server.ward.mute = True
    banner = ward_page.locator("[data-testid=lost-banner]")
    expect(banner).to_be_visible(timeout=15_000)
    server.ward.mute = False
    expect(banner).to_be_hidden()


def test_a_server_that_cannot_hear_the_beds_is_no_healthy_server(
    ward_page: Page, server: DashboardServer
) -> None:
    server.ward.broker_is_up = False
    banner = ward_page.locator("[data-testid=lost-banner]")
    expect(banner).to_contain_text("lost its link to the beds")
    expect(ward_page.locator("[data-testid=tile][data-stale=true]")).to_have_count(3)
    server.ward.broker_is_up = True
    expect(banner).to_be_hidden()


def test_the_banner_stays_above_an_open_alarm(ward_page: Page, server: DashboardServer) -> None:
    ward = server.ward
    alert = make_alert(ward.beds_by_id["bed-1"], "asystole", "high")
    server.do(lambda: ward.put_alert(alert))
    ward.broker_is_up = False
    banner = ward_page.locator("[data-testid=lost-banner]")
    expect(banner).to_be_visible()
    corner = {"x": 4, "y": 4, "width": 60, "height": 30}
    alone = ward_page.screenshot(clip=corner)
    ward_page.click(f"[data-testid=tile] [data-alert-id='{alert.alert_id}']")
    expect(banner).to_have_attribute("data-above", "1")
    assert ward_page.screenshot(clip=corner) == alone, "the dialog's backdrop darkens the banner"


def test_an_ended_session_shows_the_sign_in_and_no_quiet_ward(
    ward_page: Page, server: DashboardServer
) -> None:
    server.do(server.ward.end_all_sessions)
    expect(ward_page.locator("[data-testid=login]")).to_be_visible()
    expect(ward_page.locator("[data-testid=login-problem]")).to_contain_text(
        "Your session has ended"
    )
    expect(ward_page.locator("[data-testid=tile]")).to_have_count(0)


def test_a_wrong_password_is_refused_in_words(page: Page, server: DashboardServer) -> None:
    page.goto(server.url)
    page.fill("#username", "nurse")
    page.fill("#password", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("[data-testid=login-problem]")).to_have_text(
        "User name or password is wrong."
    )


def test_signing_out_ends_the_view(ward_page: Page) -> None:
    ward_page.click("[data-testid=sign-out]")
    expect(ward_page.locator("[data-testid=login]")).to_be_visible()
    ward_page.reload()
    expect(ward_page.locator("[data-testid=login]")).to_be_visible()


def test_nothing_is_asked_of_any_other_host(
    page: Page, server: DashboardServer, sign_in: Callable[[Page, str, str], None]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, server.url, "nurse")
    for view in ("history", "operations", "station"):
        page.click(f"[data-view={view}]")
        time.sleep(0.2)
    assert asked
    assert [url for url in asked if not url.startswith(server.url)] == []


def _colour(tile: object, selector: str) -> str:
    return tile.locator(f"{selector} .numeric-value").evaluate("e => getComputedStyle(e).color")
