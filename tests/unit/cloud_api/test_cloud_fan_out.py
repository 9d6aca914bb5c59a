"""One reader, many entries: without gap, without double, and what a slow one loses."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fakes.cloud_journal import MemoryJournal

from cloud_api.core.feed import FeedEntry, ReaderQueue
from cloud_api.services.fanout import FanOut, LinkHealth
from cloud_api.services.metrics import ApiMetrics


@asynccontextmanager
async def running(journal: MemoryJournal) -> AsyncIterator[FanOut]:
    fan_out = FanOut(
        journal,
        journal,
        clock=lambda: 0,
        health=lambda: LinkHealth(broker=True, store=not journal.away),
        metrics=ApiMetrics(),
    )
    stop = asyncio.Event()
    task = asyncio.create_task(fan_out.run(stop))
    try:
        yield fan_out
    finally:
        stop.set()
        await task


async def read_until(events: AsyncIterator[bytes], position: int) -> list[int]:
    """Positions of the alerts read, until `position` was among them."""
    found: list[int] = []
    async with asyncio.timeout(10):
        async for chunk in events:
            found += [int(n) for n in re.findall(rb"id: (\d+)\nevent: alert", chunk)]
            if position in found:
                break
    return found


async def joined(events: AsyncIterator[bytes]) -> None:
    async with asyncio.timeout(10):
        async for chunk in events:
            if chunk.startswith(b"id: ") and b"event: heartbeat" in chunk:
                return


async def test_a_reader_that_joins_while_the_journal_grows_misses_and_doubles_nothing() -> None:
    journal = MemoryJournal()
    written = journal.extend(1_200)
    async with running(journal) as fan_out:
        async with fan_out.follow(None) as first:
            await joined(first)
        after = written[99]

        async def grow() -> None:
            for _ in range(50):
                written.extend(journal.extend(3))
                fan_out.ring()
                await asyncio.sleep(0)

        growing = asyncio.create_task(grow())
        async with fan_out.follow(after) as events:
            await growing
            found = await read_until(events, written[-1])
    assert found == [position for position in written if position > after]


async def test_a_reader_without_a_position_gets_what_comes_from_now_on() -> None:
    journal = MemoryJournal()
    journal.extend(5)
    async with running(journal) as fan_out, fan_out.follow(None) as events:
        await joined(events)
        new = journal.extend(2)
        fan_out.ring()
        assert await read_until(events, new[-1]) == new


async def test_a_missed_bell_delays_by_a_second_and_loses_nothing() -> None:
    journal = MemoryJournal()
    async with running(journal) as fan_out, fan_out.follow(None) as events:
        await joined(events)
        new = journal.extend(1)
        assert await read_until(events, new[-1]) == new


async def test_a_store_that_is_away_is_said_so_and_followed_on_when_it_is_back() -> None:
    journal = MemoryJournal()
    journal.away = True
    async with running(journal) as fan_out, fan_out.follow(None) as events:
        first = await anext(aiter(events))
        assert b'"store":"down"' in first
        journal.away = False
        await joined(events)
        new = journal.extend(1)
        fan_out.ring()
        assert await read_until(events, new[-1]) == new


async def test_a_reader_that_cannot_keep_up_is_sent_away_with_a_whole_prefix() -> None:
    journal = MemoryJournal()
    async with running(journal) as fan_out, fan_out.follow(None) as events:
        await joined(events)
        new = journal.extend(1_500)
        fan_out.ring()
        await asyncio.sleep(0.3)
        found: list[int] = []
        async with asyncio.timeout(10):
            async for chunk in events:  # ends by itself
                found += [int(n) for n in re.findall(rb"id: (\d+)\nevent: alert", chunk)]
    assert found
    assert found == new[: len(found)]
    assert len(found) < len(new)


async def test_streams_end_when_the_process_stops() -> None:
    journal = MemoryJournal()
    async with running(journal) as fan_out:
        context = fan_out.follow(None)
        events = await context.__aenter__()
        await joined(events)
    async with asyncio.timeout(5):
        rest = [chunk async for chunk in events]
    await context.__aexit__(None, None, None)
    assert len(rest) <= 1


def test_a_slow_reader_loses_numerics_but_no_journal_entry() -> None:
    queue = ReaderQueue(after=0)
    queue.add([FeedEntry(1, "alert", b"{}")])
    for second in range(5):
        queue.set_numerics(b"[%d]" % second)
        queue.set_device("bed-01", b"{}")
    queue.add([FeedEntry(2, "strip", b"{}")])
    taken = queue.take()
    assert taken.count(b"event: alert") == 1
    assert taken.count(b"event: strip") == 1
    assert taken.count(b"event: device") == 1
    assert b"data: [4]" in taken
    assert queue.n_numerics_dropped == 4
    assert taken.index(b"alert") < taken.index(b"numerics")
    assert queue.take() == b""


def test_nothing_that_follows_a_hole_is_ever_shown() -> None:
    queue = ReaderQueue(after=0, capacity=2)
    queue.add([FeedEntry(n, "alert", b"{}") for n in (1, 2, 3)])
    assert queue.overflowed
    first = queue.take()
    queue.add([FeedEntry(4, "alert", b"{}")])
    assert b"id: 2\n" in first
    assert b"id: 3\n" not in first
    assert queue.take() == b""


@pytest.mark.parametrize("position", [1, 5])
def test_what_a_reader_replays_is_not_queued_as_well(position: int) -> None:
    queue = ReaderQueue(after=5)
    queue.add([FeedEntry(position, "alert", b"{}")])
    assert queue.take() == b""
