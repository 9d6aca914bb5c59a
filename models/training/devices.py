"""Where a network learns: one core, one GPU, or several processes with a GPU each."""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where this process computes, and with how many others it shares a batch.

    Attributes
    ----------
    device : torch.device
        A GPU where there is one, else the CPU.
    rank, n_processes : int
        Which of how many processes this is.
    half_precision : bool
        Whether the forward pass runs in bfloat16.
    compiled : bool
        Whether the step is compiled.
    """

    device: torch.device
    rank: int = 0
    n_processes: int = 1
    half_precision: bool = False
    compiled: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all of them found."""
        return self.rank == 0

    def share_of(self, indices: NDArray[np.intp]) -> NDArray[np.intp]:
        """This process's part of a batch; all parts are equally long."""
        length = len(indices) // self.n_processes
        return indices[self.rank * length : (self.rank + 1) * length]

    def autocast(self) -> AbstractContextManager[Any]:
        """In bfloat16 where `half_precision` says so."""
        if not self.half_precision:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def wait_for_all(self) -> None:
        """Return when every process has come here."""
        if self.n_processes > 1:
            distributed.barrier()

    def trained(self, network: nn.Module) -> Any:
        """`network` as the step calls it: averaged over processes and compiled, where asked for."""
        stepped: Any = network
        if self.n_processes > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            stepped = DistributedDataParallel(network, device_ids=ids)
        return torch.compile(stepped) if self.compiled else stepped


def current_placement(*, cpu_bfloat16: bool = False) -> Placement:
    """What this process has: a GPU with bfloat16 and a compiled step, or the CPU.

    Inside `process_group` the batch is shared with the other processes.
    """
    rank, n_processes = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, n_processes = distributed.get_rank(), distributed.get_world_size()
    if not torch.cuda.is_available():
        return Placement(
            device=torch.device("cpu"),
            rank=rank,
            n_processes=n_processes,
            half_precision=cpu_bfloat16,
        )
    index = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    return Placement(
        device=torch.device("cuda", index),
        rank=rank,
        n_processes=n_processes,
        half_precision=torch.cuda.is_bf16_supported(),
        compiled=True,
    )


@contextmanager
def process_group() -> Generator[Placement]:
    """The processes that ``torchrun`` started, as one; without it, this process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield current_placement()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield current_placement()
    finally:
        distributed.destroy_process_group()


def moved(batch: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """`batch` on `device`."""
    return tuple(part.to(device, non_blocking=True) for part in batch)
