"""How an alarm shows in a real Chromium, and how it is answered."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.dashboard_server import DashboardServer
from fakes.demonstration import make_alert, make_strip
from playwright.sync_api import Page, expect

from cloud_api.core.views import AlertView

pytestmark = pytest.mark.browser

# What IEC 60601-1-8 asks for: colour of the lit phase, mark, period of a flash in seconds.
LOOKS = {
    "high": ("rgb(212, 19, 42)", "***", "0.5s"),
    "medium": ("rgb(255, 210, 31)", "**", "2s"),
    "low": ("rgb(13, 66, 82)", "*", "0s"),
}


def raise_alert(
    server: DashboardServer, bed_id: str, condition: str, priority: str, **more: object
) -> AlertView:
    ward = server.ward
    alert = make_alert(ward.beds_by_id[bed_id], condition, priority, **more)
    return server.do(lambda: ward.put_alert(alert))


def style(page: Page, selector: str, name: str) -> str:
    return str(page.eval_on_selector(selector, f"e => getComputedStyle(e)['{name}']"))


@pytest.mark.parametrize("priority", ["high", "medium", "low"])
def test_a_priority_has_its_colour_its_mark_and_its_rhythm(
    ward_page: Page, server: DashboardServer, priority: str
) -> None:
    raise_alert(server, "bed-1", "desaturation", priority)
    band = "[data-testid=tile][data-bed-id=bed-1] [data-testid=alarm-band]"
    colour, mark, period = LOOKS[priority]
    expect(ward_page.locator(f"{band} .mark")).to_have_text(mark)
    expect(ward_page.locator(f"{band} .band-name")).to_have_text("Desaturation")
    assert style(ward_page, band, "animationDuration") == period
    ward_page.emulate_media(reduced_motion="reduce")
    assert style(ward_page, band, "backgroundColor") == colour


def test_less_motion_keeps_the_cue_on_the_mark_alone(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server, "bed-1", "asystole", "high")
    band = "[data-testid=tile][data-bed-id=bed-1] [data-testid=alarm-band]"
    ward_page.wait_for_selector(band)
    ward_page.emulate_media(reduced_motion="reduce")
    assert style(ward_page, band, "animationName") == "none"
    assert style(ward_page, f"{band} .mark", "animationName") == "alarm-mark"


def test_the_tile_shows_the_highest_priority_and_how_many_more(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server, "bed-2", "lead_off", "low")
    raise_alert(server, "bed-2", "asystole", "high")
    raise_alert(server, "bed-2", "desaturation", "medium")
    tile = ward_page.locator("[data-testid=tile][data-bed-id=bed-2]")
    expect(tile).to_have_attribute("data-priority", "high")
    expect(tile.locator(".band-name")).to_have_text("Asystole")
    expect(tile.locator(".band-more")).to_have_text("+2")


def test_alarms_are_listed_by_priority_and_then_the_newest_first(
    ward_page: Page, server: DashboardServer
) -> None:
    low = raise_alert(server, "bed-1", "lead_off", "low")
    older = raise_alert(server, "bed-2", "asystole", "high", seconds_ago=60)
    newer = raise_alert(server, "bed-3", "asystole", "high", seconds_ago=2)
    cards = ward_page.locator("[data-testid=alarm-card]")
    expect(cards).to_have_count(3)
    shown = [card.get_attribute("data-alert-id") for card in cards.all()]
    assert shown == [newer.alert_id, older.alert_id, low.alert_id]


def test_an_alarm_is_acknowledged_step_by_step(ward_page: Page, server: DashboardServer) -> None:
    alert = raise_alert(server, "bed-1", "ventricular_fibrillation", "high")
    card = ward_page.locator(f"[data-testid=alarm-card][data-alert-id='{alert.alert_id}']")
    card.locator("[data-testid=acknowledge]").click()
    answer = card.locator("[data-testid=answer]")
    expect(answer).to_have_text("sent by nurse — waiting for the bed")
    expect(card).to_have_attribute("data-acknowledgement-state", "sent")
    expect(card.locator("[data-testid=acknowledge]")).to_be_hidden()
    server.do(lambda: server.ward.confirm(alert.alert_id))
    expect(answer).to_have_text(re.compile(r"acknowledged by nurse at \d\d:\d\d:\d\d"))
    expect(card).to_have_attribute("data-acknowledgement-state", "confirmed")
    band = card.locator("[data-testid=alarm-band]")
    expect(band).to_have_attribute("data-presence", "ack")
    expect(band).to_have_css("animation-name", "none")


def test_a_refused_acknowledgement_says_why_and_can_be_tried_again(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server, "bed-1", "asystole", "high")
    card = ward_page.locator(f"[data-testid=alarm-card][data-alert-id='{alert.alert_id}']")
    card.wait_for()
    ward_page.route("**/acknowledgement", lambda route: route.abort())
    card.locator("[data-testid=acknowledge]").click()
    expect(card.locator("[data-testid=answer]")).to_have_text(
        "not sent: the server does not answer"
    )
    expect(card.locator("[data-testid=acknowledge]")).to_be_enabled()


def test_a_latched_alarm_goes_on_calling_and_says_that_its_condition_is_over(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server, "bed-1", "asystole", "high")
    latched = replace(alert, presence="latch", transition="cleared")
    server.do(lambda: server.ward.put_alert(latched))
    band = ward_page.locator("[data-testid=tile][data-bed-id=bed-1] [data-testid=alarm-band]")
    expect(band).to_have_attribute("data-presence", "latch")
    expect(band.locator(".band-note")).to_have_text("latched")
    expect(band).to_have_css("animation-name", "alarm-high")


def test_the_strip_arrives_while_the_alarm_is_open(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server, "bed-1", "ventricular_fibrillation", "high")
    ward_page.click(f"[data-testid=tile] [data-alert-id='{alert.alert_id}']")
    strip = ward_page.locator("[data-testid=alert-dialog] [data-testid=strip]")
    expect(strip).to_contain_text("No strip yet")
    server.do(lambda: server.ward.put_strip(make_strip(alert, gap=True)))
    ecg = strip.locator("[data-code=MDC_ECG_ELEC_POTL_II]")
    expect(ecg).to_contain_text("mm/mV")
    # 20 s at 25 mm/s is half a metre of paper.
    width = ecg.locator("canvas").evaluate("canvas => canvas.getBoundingClientRect().width")
    assert width == pytest.approx(500 * 96 / 25.4, abs=1)
    assert (
        ecg.locator("canvas").evaluate(
            "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width,"
            " canvas.height).data).size"
        )
        > 10
    ), "nothing was drawn"


def test_a_verdict_is_stored_and_shown_with_its_author(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server, "bed-1", "asystole", "high")
    ward_page.click(f"[data-testid=tile] [data-alert-id='{alert.alert_id}']")
    ward_page.click("[data-testid=verdict-false]")
    expect(ward_page.locator("[data-testid=verdicts]")).to_contain_text("False alarm — nurse")
    assert [verdict.verdict for verdict in server.ward.verdicts[alert.alert_id]] == ["false"]


def test_an_open_alarm_does_not_hide_that_another_bed_calls(
    ward_page: Page, server: DashboardServer
) -> None:
    first = raise_alert(server, "bed-1", "lead_off", "low")
    ward_page.click(f"[data-testid=tile] [data-alert-id='{first.alert_id}']")
    raise_alert(server, "bed-3", "asystole", "high")
    expect(ward_page.locator("[data-testid=other-alarms]")).to_contain_text("*** bed-3 Asystole")


def test_the_keyboard_alone_opens_and_acknowledges(
    ward_page: Page, server: DashboardServer
) -> None:
    alert = raise_alert(server, "bed-1", "asystole", "high")
    band = ward_page.locator(f"[data-testid=tile] [data-alert-id='{alert.alert_id}']")
    band.wait_for()
    for _ in range(30):
        ward_page.keyboard.press("Tab")
        if band.evaluate("element => element === document.activeElement"):
            break
    ward_page.keyboard.press("Enter")
    dialog = ward_page.locator("[data-testid=alert-dialog]")
    expect(dialog).to_be_visible()
    ward_page.locator("#acknowledge-reason").focus()
    ward_page.keyboard.press("Enter")
    expect(dialog.locator("[data-testid=answer]")).to_contain_text("sent by nurse")
    ward_page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_high_alarm_is_announced_at_once_and_a_low_one_politely(
    ward_page: Page, server: DashboardServer
) -> None:
    raise_alert(server, "bed-1", "asystole", "high")
    raise_alert(server, "bed-2", "lead_off", "low")
    at_once = ward_page.locator("#announce-now[aria-live=assertive]")
    expect(at_once).to_have_text("High priority alarm. Asystole. Bed bed-1.")
    politely = ward_page.locator("#announce-soon[aria-live=polite]")
    expect(politely).to_contain_text("Bed bed-2")


def test_sound_is_off_until_asked_for_and_plays_the_highest_priority(
    ward_page: Page, server: DashboardServer
) -> None:
    sound = ward_page.locator("[data-testid=sound]")
    expect(sound).to_have_text(re.compile("Sound is off"))
    sound.click()
    expect(sound).to_have_attribute("data-audible", "true")
    raise_alert(server, "bed-1", "desaturation", "medium")
    expect(sound).to_have_attribute("data-melody", "medium")
    raise_alert(server, "bed-2", "asystole", "high")
    expect(sound).to_have_attribute("data-melody", "high")


def test_who_may_not_acknowledge_is_not_offered_it(
    page: Page, server: DashboardServer, sign_in: Callable[[Page, str, str], None]
) -> None:
    raise_alert(server, "bed-1", "asystole", "high")
    sign_in(page, server.url, "admin")
    card = page.locator("[data-testid=alarm-card]")
    card.wait_for()
    expect(card.locator("[data-testid=acknowledge]")).to_be_hidden()
    card.locator("[data-testid=alarm-band]").click()
    dialog = page.locator("[data-testid=alert-dialog]")
    expect(dialog).to_contain_text("Only a nurse or physician can acknowledge.")
