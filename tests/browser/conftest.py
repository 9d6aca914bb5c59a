"""A Chromium and a page in it; the page's server is the real HTTP application on a ward in memory."""

from collections.abc import Callable, Iterator

import pytest
from fakes.dashboard_server import DashboardServer
from fakes.demonstration import make_bed, make_numerics
from numpy.random import default_rng
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from deploy.local.chromium import FLAGS, find_chromium
from wardstream.contracts.errors import ConfigurationError, TransientError

VIEWPORT = {"width": 1366, "height": 820}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of the folder."""
    try:
        executable = find_chromium()
    except (ConfigurationError, TransientError) as error:
        pytest.skip(str(error))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(executable), args=list(FLAGS))
        yield chromium
        chromium.close()


class Complaints:
    """What the browser complained of: script errors, and what the content policy stopped."""

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on("pageerror", lambda error: self.found.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        # A refused request is logged as an error too: what the tests provoke is no complaint.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.found.append(message.text)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, English, that must end without a script error or a policy violation."""
    context = browser.new_context(viewport=VIEWPORT, locale="en-GB")
    context.set_default_timeout(10_000)
    page = context.new_page()
    complaints = Complaints(page)
    yield page
    context.close()
    assert complaints.found == []


@pytest.fixture
def server() -> Iterator[DashboardServer]:
    """Three beds with fresh numerics and no alarm."""
    with DashboardServer() as running:
        ward = running.ward
        random = default_rng(0)
        for index, mode in enumerate(("real", "test", "demo")):
            bed = make_bed(f"bed-{index + 1}", index, mode=mode)
            ward.beds_by_id[bed.bed_id] = bed
        seconds = {bed_id: make_numerics(random, i) for i, bed_id in enumerate(ward.beds_by_id)}
        running.do(lambda: ward.put_numerics(seconds))
        yield running


SignIn = Callable[[Page, str, str], None]


@pytest.fixture
def sign_in() -> SignIn:
    """Through the login view of the fake server to the ward."""
    return _sign_in


def _sign_in(page: Page, url: str, username: str) -> None:
    page.goto(url)
    page.fill("#username", username)
    page.fill("#password", f"{username}-password")
    page.click("button[type=submit]")
    page.wait_for_selector("[data-testid=tile]")


@pytest.fixture
def ward_page(page: Page, server: DashboardServer) -> Page:
    """The central station, signed in as a nurse, live."""
    _sign_in(page, server.url, "nurse")
    page.wait_for_selector("[data-testid=link-state][data-link=live]")
    return page
