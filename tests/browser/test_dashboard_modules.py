"""Parts of the page that are pure functions, run where they run: in the browser."""

from typing import Any

import pytest
from fakes.dashboard_server import DashboardServer
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def module_page(page: Page, server: DashboardServer) -> Page:
    """A page from which the modules can be imported."""
    page.goto(server.url)
    page.wait_for_selector("[data-testid=login]")
    return page


def _events(page: Page, chunks: list[str], last_id: str = "") -> list[dict[str, Any]]:
    return page.evaluate(
        """async ([chunks, lastId]) => {
            const { EventParser } = await import('/js/sse.js');
            const parser = new EventParser(lastId);
            return chunks.flatMap((chunk) => parser.push(chunk));
        }""",
        [chunks, last_id],
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_events_are_the_same_however_the_bytes_are_cut(
    module_page: Page, size: int, newline: str
) -> None:
    text = newline.join(
        [": a comment", "event: alert", "id: 7", 'data: {"a":', "data: 1}", "", "data: 2", "", ""]
    )
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert _events(module_page, chunks) == [
        {"id": "7", "event": "alert", "data": '{"a":\n1}'},
        {"id": "7", "event": "message", "data": "2"},
    ]


def test_an_event_without_an_id_keeps_the_last_one_and_half_an_event_is_none(
    module_page: Page,
) -> None:
    assert _events(module_page, ["data: 1\n\n", "data: 2\n"], "41") == [
        {"id": "41", "event": "message", "data": "1"}
    ]


@pytest.mark.parametrize(
    ("n_beds", "width", "height", "columns"),
    [
        pytest.param(1, 1000, 700, 1, id="one bed fills the room"),
        pytest.param(4, 1000, 700, 2, id="four make a square"),
        pytest.param(12, 1500, 900, 4, id="twelve in rows of four"),
        pytest.param(32, 390, 5000, 1, id="a phone has one column"),
    ],
)
def test_columns_make_tiles_as_large_as_they_can_be(
    module_page: Page, n_beds: int, width: int, height: int, columns: int
) -> None:
    found = module_page.evaluate(
        """async ([n, width, height]) =>
            (await import('/js/views/station.js')).columnsFor(n, width, height)""",
        [n_beds, width, height],
    )
    assert found == columns


def test_both_languages_say_everything(module_page: Page) -> None:
    missing = module_page.evaluate(
        """async () => {
            const { en } = await import('/js/lang/en.js');
            const { zh } = await import('/js/lang/zh.js');
            const shared = new Set(['alert.more', 'strip.speed', 'strip.gain', 'alert.model']);
            return Object.keys(en).filter((key) => !(key in zh) && !shared.has(key));
        }"""
    )
    assert missing == []


def test_every_key_the_page_asks_for_is_in_the_dictionary(module_page: Page) -> None:
    unknown = module_page.evaluate(
        """async () => {
            const { en } = await import('/js/lang/en.js');
            const seen = performance.getEntriesByType('resource').map(({ name }) => name);
            const unknown = [];
            for (const url of seen.filter((name) => name.endsWith('.js'))) {
                const source = await (await fetch(url)).text();
                for (const [, key] of source.matchAll(/\\bt\\("([\\w.]+)"/g))
                    if (!(key in en)) unknown.push(key);
            }
            return unknown;
        }"""
    )
    assert unknown == []
