"""A run that was interrupted goes on where it stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(slots=True, kw_only=True)
class FitState:
    """Everything an epoch leaves to the next.

    Attributes
    ----------
    run_digest : str
        Of the configuration and the data; a checkpoint of another run is not taken up.
    epoch : int
        Epochs finished.
    best_epoch, best_loss : int, float
        Epoch with the lowest validation loss so far, and that loss.
    best_weights, weights, averaged, optimiser, schedule : dict
        State dictionaries; the weights as the steps leave them, and their running average.
    finished : bool
        Whether nothing is left to do.
    """

    run_digest: str
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor]
    weights: dict[str, Tensor]
    averaged: dict[str, Tensor]
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    finished: bool = False


def save_state(path: Path, state: FitState) -> None:
    """Write `state` to `path`, wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save({name: getattr(state, name) for name in FitState.__slots__}, temporary)
    temporary.replace(path)


def load_state(path: Path, run_digest: str) -> FitState | None:
    """The state at `path` if there is one and it belongs to the run `run_digest`."""
    if not path.exists():
        return None
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return FitState(**found) if found.get("run_digest") == run_digest else None
