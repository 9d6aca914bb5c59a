"""The other views, both languages, small and crowded screens, and who cannot see or point."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.dashboard_server import DashboardServer
from fakes.demonstration import fill_ward, make_alert, make_bed
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SignIn = Callable[[Page, str, str], None]

ACCESSIBILITY = (Path(__file__).parent / "accessibility.js").read_text()


def test_the_history_is_filtered_by_bed_and_priority(
    ward_page: Page, server: DashboardServer
) -> None:
    ward = server.ward
    for bed_id, condition, priority in (
        ("bed-1", "asystole", "high"),
        ("bed-1", "lead_off", "low"),
        ("bed-2", "asystole", "high"),
    ):
        alert = make_alert(ward.beds_by_id[bed_id], condition, priority)
        server.do(lambda alert=alert: ward.put_alert(alert))
    ward_page.click("[data-view=history]")
    rows = ward_page.locator("[data-testid=history] tr[data-alert-id]")
    expect(rows).to_have_count(3)
    ward_page.select_option("[data-testid=filter-bed]", "bed-1")
    expect(rows).to_have_count(2)
    ward_page.select_option("[data-testid=filter-priority]", "high")
    expect(rows).to_have_count(1)
    rows.first.get_by_role("button").click()
    expect(ward_page.locator("[data-testid=alert-dialog]")).to_be_visible()


def test_operations_see_devices_models_and_dead_letters(
    page: Page, server: DashboardServer, sign_in: SignIn
) -> None:
    server.ward.beds_by_id.clear()
    server.do(lambda: fill_ward(server.ward, 4))
    sign_in(page, server.url, "admin")
    page.click("[data-view=operations]")
    refused = page.locator("[data-testid=devices] tr[data-device-id=dev-icu-1-bed-04]")
    expect(refused).to_contain_text("version 4: target length 81234 is not the signed 81230")
    expect(page.locator("[data-testid=dead-letters]")).to_contain_text(
        "frame schema 9 is not registered"
    )
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Install everywhere").first.click()
    expect(page.locator("[data-testid=command-status]")).to_contain_text("Sent.")
    assert [(one.action, one.version, one.site_id) for one in server.ward.commands] == [
        ("install", 3, "demo")
    ]


def test_a_nurse_is_told_who_may_read_dead_letters(ward_page: Page) -> None:
    ward_page.click("[data-view=operations]")
    letters = ward_page.locator("[data-testid=dead-letters]")
    expect(letters).to_contain_text("one of these roles is needed")


def test_labels_switch_to_chinese_and_back(ward_page: Page, server: DashboardServer) -> None:
    ward = server.ward
    alert = make_alert(ward.beds_by_id["bed-1"], "ventricular_fibrillation", "high")
    server.do(lambda: ward.put_alert(alert))
    band = ward_page.locator("[data-testid=tile] [data-testid=alarm-band] .band-name")
    expect(band).to_have_text("Ventricular fibrillation")
    ward_page.click("[data-testid=language]")
    expect(band).to_have_text("心室颤动")
    expect(ward_page.locator("html")).to_have_attribute("lang", "zh")
    ward_page.reload()
    expect(band).to_have_text("心室颤动")
    ward_page.click("[data-testid=language]")
    expect(band).to_have_text("Ventricular fibrillation")


@pytest.mark.parametrize("n_beds", [4, 8, 16, 32])
@pytest.mark.parametrize("width", [1280, 1920])
def test_a_crowded_ward_cuts_off_no_bed_name_no_number_and_no_alarm(
    page: Page, server: DashboardServer, sign_in: SignIn, n_beds: int, width: int
) -> None:
    server.ward.beds_by_id.clear()
    server.do(lambda: fill_ward(server.ward, n_beds))
    seconds = {
        bed_id: {
            "heart_rate_per_min": 188.0,
            "spo2_percent": 100.0,
            "abp_systolic_mmhg": 188.0,
            "abp_diastolic_mmhg": 118.0,
            "abp_mean_mmhg": 144.0,
            "respiration_rate_per_min": 38.0,
        }
        for bed_id in server.ward.beds_by_id
    }
    server.do(lambda: server.ward.put_numerics(seconds))
    page.set_viewport_size({"width": width, "height": width * 9 // 16})
    sign_in(page, server.url, "nurse")
    expect(page.locator("[data-testid=tile]")).to_have_count(n_beds)
    page.wait_for_timeout(300)
    cut = page.evaluate(
        """() => [...document.querySelectorAll(
            '.tile :is(.tile-bed, .band-name, .mark, .numeric-value, .mode)')]
          .filter((part) => part.getClientRects().length)
          .filter((part) => {
            const inner = part.getBoundingClientRect();
            const outer = part.closest('.tile').getBoundingClientRect();
            return inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1
              || part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflow !== 'visible';
          })
          .map((part) => `${part.closest('.tile').dataset.bedId} ${part.className} ${part.textContent}`)"""
    )
    assert cut == []


def test_a_phone_shows_alarms_first_and_scrolls_only_down(
    page: Page, server: DashboardServer, sign_in: SignIn
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    server.do(lambda: fill_ward(server.ward, 6))
    sign_in(page, server.url, "nurse")
    first_card = page.locator("[data-testid=alarm-card]").first.bounding_box()
    first_tile = page.locator("[data-testid=tile]").first.bounding_box()
    assert first_card is not None
    assert first_tile is not None
    assert first_card["y"] < first_tile["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_bed_name_of_full_length_is_shown_whole(
    page: Page, server: DashboardServer, sign_in: SignIn
) -> None:
    name = "intensive-care-2-bed-017"
    server.ward.beds_by_id[name] = make_bed("bed-9", 3)
    server.ward.beds_by_id[name] = type(server.ward.beds_by_id[name])(
        **{
            field: getattr(server.ward.beds_by_id[name], field)
            for field in server.ward.beds_by_id[name].__dataclass_fields__
            if field != "bed_id"
        },
        bed_id=name,
    )
    sign_in(page, server.url, "nurse")
    shown = page.locator(f"[data-testid=tile][data-bed-id={name}] .tile-bed")
    expect(shown).to_have_text(name)
    expect(shown).to_have_css("text-overflow", "clip")


@pytest.mark.parametrize("view", ["login", "station", "history", "operations", "dialog"])
def test_basic_accessibility_rules_hold(
    page: Page, server: DashboardServer, sign_in: SignIn, view: str
) -> None:
    server.do(lambda: fill_ward(server.ward, 6))
    page.emulate_media(reduced_motion="reduce")
    if view == "login":
        page.goto(server.url)
        page.wait_for_selector("[data-testid=login]")
    else:
        sign_in(page, server.url, "admin")
        if view == "dialog":
            page.locator("[data-testid=alarm-band]").first.click()
            page.wait_for_selector("[data-testid=alert-dialog] canvas")
        else:
            page.click(f"[data-view={view}]")
            page.wait_for_timeout(500)
    assert page.evaluate(ACCESSIBILITY) == []
