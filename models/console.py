"""How a build shows its progress: a bar on a terminal, a line a step elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class ConsoleProgress:
    """`BuildProgress` on standard error; standard output stays for results."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, stage: str, done: int, total: int, detail: str) -> None:
        """See `models.cross_validation.BuildProgress`."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, detail="")
        self._progress.update(self._tasks[stage], completed=done, total=total, detail=detail)
        tenth = max(total // 10, 1)
        if not self._console.is_terminal and (done % tenth == 0 or done == total):
            self._console.print(f"{stage} {done}/{total} {detail}", highlight=False)
