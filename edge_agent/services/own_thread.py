"""A service that works on a thread of its own, because what it waits for may take long."""

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import Final, Self

LOOK_S: Final = 0.5
CLOSE_S: Final = 5.0
"""How long leaving the service waits for the thread to finish what it has begun."""


class OwnThread(ABC):
    """Life of the thread: begun with the service, watched, told to close, waited for.

    A subclass waits on `_changed`, and returns from `_work` soon after `_closing` is set.

    Parameters
    ----------
    name : str
        Of the service and its thread.
    task : str
        What the thread does, for the error when it has died.
    """

    def __init__(self, name: str, task: str) -> None:
        self.name = name
        self._task = task
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @abstractmethod
    def _work(self) -> None:
        """What the thread does until `_closing`."""

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch over the thread until `stop`.

        Raises
        ------
        RuntimeError
            It has died.
        """
        while not stop.is_set():
            if self._thread.ident is not None and not self._thread.is_alive():
                raise RuntimeError(f"the thread that {self._task} has died")
            await asyncio.sleep(LOOK_S)
