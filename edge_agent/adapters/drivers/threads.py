"""Work of a driver that blocks: on a thread of its own, ended when its task is."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


async def on_own_thread(name: str, work: Callable[[threading.Event], None]) -> None:
    """Run ``work(stop)`` on a new thread; what it raises is raised here.

    When the task is cancelled `stop` is set and the thread is waited for, so `work` must look
    at it a few times a second. The loop's own executor is not used: a driver never gives its
    thread back.
    """
    stop = threading.Event()
    executor = ThreadPoolExecutor(1, name)
    running = asyncio.get_running_loop().run_in_executor(executor, work, stop)
    try:
        await asyncio.shield(running)
    finally:
        stop.set()
        executor.shutdown(wait=False)
        await asyncio.gather(running, return_exceptions=True)
