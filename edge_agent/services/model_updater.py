"""A new model on a running bed: verified, qualified, installed, swapped, and taken back."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from edge_agent.core.outbox_port import StorageError
from edge_agent.core.ports import ModelRepository, ModelShelf, ModelUnreachableError
from edge_agent.services.bedside import Store
from wardstream.contracts.device import ModelAction, ModelCommand, ModelReport, ModelState
from wardstream.inference.bundle import read_bundle
from wardstream.inference.guard import GuardLimits
from wardstream.inference.port import ModelRefusedError, RhythmRuntime
from wardstream.inference.selection import ChosenRuntime, choose_runtime

logger = logging.getLogger(__name__)

FETCH_PAUSES_S: Final = (1.0, 4.0, 15.0, 60.0)
"""Pauses between attempts to reach the repository; after the last one the offer is refused."""


@dataclass(frozen=True, slots=True)
class Qualifier:
    """Loads a bundle and lets it show that it may judge here.

    Attributes
    ----------
    backend : str
        Which inference back end, or ``auto``: the fastest that gives the golden answers.
    latency_budget_ms : float
        Most that nine of ten single windows may take.
    guard : GuardLimits or None
        When a model that hangs or crawls is given up; None: never.
    """

    backend: str = "onnxruntime"
    latency_budget_ms: float = 5.0
    guard: GuardLimits | None = None

    def __call__(self, bundle_dir: Path) -> RhythmRuntime:
        """The loaded model.

        Raises
        ------
        ModelRefusedError
            Digest, shape, preprocessing, golden vectors or latency are not as they must be.
        """
        bundle = read_bundle(bundle_dir)
        choice = choose_runtime(bundle, self.backend, latency_budget_ms=self.latency_budget_ms)
        return ChosenRuntime(choice, bundle, self.guard)


def first_model(
    shelf: ModelShelf, shipped: Path, load: Callable[[Path], RhythmRuntime]
) -> tuple[RhythmRuntime | None, ModelReport]:
    """The model to begin with: the installed one, else the one before, else the shipped one.

    A shipped model that is newer than the installed one came with a newer agent and wins.
    """
    reasons: list[str] = []
    candidates = [path for path in (shelf.current(), shelf.previous(), shipped) if path]
    loaded: list[RhythmRuntime] = []
    for path in candidates:
        if loaded and path != shipped:
            continue
        try:
            loaded.append(load(path))
        except ModelRefusedError as error:
            reasons.append(f"{path.name}: {error}")
            logger.error("the model in %s may not judge: %s", path, error)
    if not loaded:
        reason = "; ".join(reasons)
        return None, ModelReport(state=ModelState.UNAVAILABLE, version=0, sha256="", reason=reason)
    runtime = max(loaded, key=lambda model: model.manifest.version)
    return runtime, report_of(runtime, ModelState.RUNNING, reason="; ".join(reasons))


def report_of(
    runtime: RhythmRuntime | None,
    state: ModelState,
    *,
    refused_version: int | None = None,
    reason: str = "",
) -> ModelReport:
    """What the device says about its model."""
    chosen = runtime.choice if isinstance(runtime, ChosenRuntime) else None
    return ModelReport(
        state=state
        if runtime is not None or state is not ModelState.RUNNING
        else ModelState.UNAVAILABLE,
        version=runtime.manifest.version if runtime is not None else 0,
        sha256=runtime.manifest.sha256 if runtime is not None else "",
        refused_version=refused_version,
        reason=reason,
        backend=chosen.taken.backend if chosen else "",
        backends=tuple(str(each) for each in chosen.all) if chosen else (),
        latency_p50_ms=chosen.taken.latency_p50_ms if chosen else None,
        golden_error=chosen.taken.golden_error if chosen else None,
    )


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What the updater works with.

    Attributes
    ----------
    shelf : ModelShelf
        Installed models.
    repository : ModelRepository or None
        Where signed ones come from; None: this device takes no updates.
    shipped : Path
        The bundle that came with the agent, never deleted.
    load : callable
        Loads and qualifies a bundle.
    swap : callable
        Lets a runtime judge from the next window on.
    """

    shelf: ModelShelf
    repository: ModelRepository | None
    shipped: Path
    load: Callable[[Path], RhythmRuntime]
    swap: Callable[[RhythmRuntime], None]


class ModelUpdater:
    """Carries out model commands one after the other; the bed is judged all the while."""

    name = "model updater"

    def __init__(
        self,
        parts: ModelParts,
        running: RhythmRuntime | None,
        report: ModelReport,
        *,
        store: Store,
        on_change: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._running = running
        self._report = report
        self._store = store
        self._on_change = on_change
        self._offers: asyncio.Queue[tuple[ModelCommand, Callable[[], None]]] = asyncio.Queue(16)

    @property
    def report(self) -> ModelReport:
        """Which model judges, how it fares, and how the last command went."""
        guard = self._running.guard if isinstance(self._running, ChosenRuntime) else None
        if guard is None:
            return self._report
        n_lost = guard.n_stalled + guard.n_slow + guard.n_failed
        return replace(self._report, n_lost=n_lost, n_recovered=guard.n_recovered)

    def offer(self, command: ModelCommand, accept: Callable[[], None]) -> None:
        """Queue `command`. When too many wait it is left to the broker to bring it again."""
        try:
            self._offers.put_nowait((command, accept))
        except asyncio.QueueFull:
            logger.error("too many model commands wait; %s is left out", command.command_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to release."""

    async def run(self, stop: asyncio.Event) -> None:
        """Carry out commands until `stop`."""
        while not stop.is_set():
            try:
                command, accept = await asyncio.wait_for(self._offers.get(), 0.5)
            except TimeoutError:
                continue
            await self._carry_out(command)
            self._store.submit((), None, command.command_id, accept)

    async def _carry_out(self, command: ModelCommand) -> None:
        before = self._running
        self._say(report_of(before, ModelState.INSTALLING))
        try:
            if command.action is ModelAction.INSTALL:
                runtime = await self._install(command.version)
            else:
                runtime = await self._roll_back()
        except (ModelRefusedError, ModelUnreachableError, StorageError) as error:
            version = command.version or None
            logger.error(
                "model %s refused: %s", version, error, extra={"fields": {"event": "model_refused"}}
            )
            self._say(
                report_of(before, ModelState.REFUSED, refused_version=version, reason=str(error))
            )
            return
        if runtime is not before:
            self._parts.swap(runtime)
            self._running = runtime
            if isinstance(before, ChosenRuntime):
                before.close()
        logger.info(
            "model %d judges now",
            runtime.manifest.version,
            extra={"fields": {"event": "model_running", "version": runtime.manifest.version}},
        )
        self._say(report_of(runtime, ModelState.RUNNING))

    async def _install(self, version: int) -> RhythmRuntime:
        running = self._running
        if running is not None and version == running.manifest.version:
            return running
        if running is not None and version < running.manifest.version:
            raise ModelRefusedError(
                f"version {version} is older than {running.manifest.version}, which judges; "
                "only a rollback goes back"
            )
        repository = self._parts.repository
        if repository is None:
            raise ModelRefusedError("this device has no model repository configured")
        folder = await asyncio.to_thread(self._parts.shelf.incoming, version)
        await self._fetch(repository, version, folder)
        runtime = await asyncio.to_thread(self._parts.load, folder)
        if runtime.manifest.version != version:
            raise ModelRefusedError(f"offered as {version}, it says {runtime.manifest.version}")
        await asyncio.to_thread(self._parts.shelf.install, version)
        return runtime

    async def _fetch(self, repository: ModelRepository, version: int, folder: Path) -> None:
        for pause_s in (*FETCH_PAUSES_S, None):
            try:
                await asyncio.to_thread(repository.fetch, version, folder)
            except ModelUnreachableError as error:
                if pause_s is None:
                    raise
                logger.warning("%s; trying again in %s s", error, pause_s)
                await asyncio.sleep(pause_s)
            else:
                return

    async def _roll_back(self) -> RhythmRuntime:
        shelf = self._parts.shelf
        if shelf.current() is None:
            raise ModelRefusedError("the model that came with the agent judges; none is before it")
        target = shelf.previous() or self._parts.shipped
        runtime = await asyncio.to_thread(self._parts.load, target)
        await asyncio.to_thread(shelf.roll_back)
        return runtime

    def _say(self, report: ModelReport) -> None:
        self._report = report
        self._on_change()
