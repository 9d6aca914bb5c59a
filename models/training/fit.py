"""Train one network on some patients, watching others."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.datasets.windows import WindowTable, normalised
from models.training.augmentation import Augmenter
from models.training.checkpoints import FitState, load_state, save_state
from models.training.config import TrainingConfig
from models.training.network import RhythmNetwork, set_loss
from models.training.sampling import sampling_probability, validation_indices

EpochReport = Callable[[int, int, float, float], None]
"""Called with (epochs finished, epochs in all, training loss, 1 - mean AUC on validation or NaN)."""

_VALIDATION_WINDOWS_A_CLASS = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitTask:
    """One network to train.

    Attributes
    ----------
    table : WindowTable
        All windows.
    train, validation : ndarray of intp
        Indices of the windows to learn from and to stop by. Without any of the latter every
        epoch is run and the last weights are taken.
    n_epochs : int
        Most epochs.
    seed : int
        Of this network.
    checkpoint : Path
        Where its state is kept.
    """

    table: WindowTable
    train: NDArray[np.intp]
    validation: NDArray[np.intp]
    n_epochs: int
    seed: int
    checkpoint: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult:
    """A trained network, in evaluation mode on the CPU, and the epoch it is of."""

    network: RhythmNetwork
    best_epoch: int
    best_loss: float


def device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    task: FitTask, config: TrainingConfig, augmenter: Augmenter, report: EpochReport | None = None
) -> FitResult:
    """Train the network of `task`, going on from its checkpoint where there is one.

    Notes
    -----
    Deterministic on the CPU for one number of threads: weights come from `task.seed`, and the
    windows of an epoch from `task.seed` and its number, so that a resumed run sees the same.
    """
    torch.set_num_threads(config.fit.n_threads)
    torch.manual_seed(task.seed)
    network = RhythmNetwork(config.network).to(device())
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.fit.learning_rate, weight_decay=config.fit.weight_decay
    )
    n_steps = max(config.fit.windows_per_epoch // config.fit.batch_size, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=config.fit.learning_rate, total_steps=n_steps * task.n_epochs + 1
    )
    state = load_state(task.checkpoint, run_digest(task, config)) or FitState(
        run_digest=run_digest(task, config),
        best_weights=network.state_dict(),
        weights=network.state_dict(),
        optimiser=optimiser.state_dict(),
        schedule=schedule.state_dict(),
    )
    network.load_state_dict(state.weights)
    optimiser.load_state_dict(state.optimiser)
    schedule.load_state_dict(state.schedule)
    probability = sampling_probability(task.table, task.train, config.fit)
    watched = validation_indices(
        task.table, task.validation, at_most=_VALIDATION_WINDOWS_A_CLASS, seed=task.seed
    )
    while not state.finished and state.epoch < task.n_epochs:
        generator = np.random.default_rng([task.seed, state.epoch])
        drawn = generator.choice(task.train, n_steps * config.fit.batch_size, p=probability)
        # Batch order is random already; sorted reads within a batch are kind to the memory map.
        losses = [
            _step(
                network, optimiser, schedule, _batch(task.table, part, augmenter, generator), config
            )
            for part in np.split(drawn, n_steps)
        ]
        loss = validation_loss(network, task.table, watched) if len(watched) else float("nan")
        _advance(state, network, loss, config.fit.patience_epochs)
        state.weights = {name: value.cpu() for name, value in network.state_dict().items()}
        state.optimiser, state.schedule = optimiser.state_dict(), schedule.state_dict()
        state.finished = state.finished or state.epoch == task.n_epochs
        save_state(task.checkpoint, state)
        if report is not None:
            report(state.epoch, task.n_epochs, float(np.mean(losses)), loss)
    network.load_state_dict(state.best_weights)
    return FitResult(
        network=network.cpu().eval(), best_epoch=state.best_epoch, best_loss=state.best_loss
    )


def run_digest(task: FitTask, config: TrainingConfig) -> str:
    """What makes two fits the same: configuration, labels, windows chosen, epochs, seed."""
    digest = sha256(config.digest.encode())
    digest.update(repr(sorted(task.table.digests.items())).encode())
    digest.update(task.train.tobytes() + task.validation.tobytes())
    digest.update(f"{task.n_epochs}/{task.seed}".encode())
    return digest.hexdigest()


def _advance(state: FitState, network: RhythmNetwork, loss: float, patience: int) -> None:
    state.epoch += 1
    if np.isnan(loss) or loss < state.best_loss:
        state.best_epoch = state.epoch
        state.best_loss = state.best_loss if np.isnan(loss) else loss
        state.best_weights = {
            name: value.detach().cpu().clone() for name, value in network.state_dict().items()
        }
    elif state.epoch - state.best_epoch >= patience:
        state.finished = True


def _batch(
    table: WindowTable,
    indices: NDArray[np.intp],
    augmenter: Augmenter,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    windows_mv = table.filtered_mv[indices].astype(np.float32)
    admissible = table.admissible_of(indices)
    augmenter.vary(windows_mv, admissible, generator)
    return torch.from_numpy(normalised(windows_mv)), torch.from_numpy(admissible)


def _step(
    network: RhythmNetwork,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batch: tuple[Tensor, Tensor],
    config: TrainingConfig,
) -> float:
    windows, admissible = (part.to(device()) for part in batch)
    network.train()
    optimiser.zero_grad(set_to_none=True)
    loss = set_loss(network(windows), admissible, config.fit.label_smoothing).mean()
    cast("None", loss.backward())
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    return float(loss.detach())


def logits_of(
    network: RhythmNetwork, table: WindowTable, indices: NDArray[np.intp], *, batch_size: int = 512
) -> Tensor:
    """Logits of windows `indices` as they are, without augmentation, on the CPU."""
    network.eval()
    parts: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            windows = torch.from_numpy(table.normalised(indices[start : start + batch_size]))
            parts.append(network(windows.to(device())).cpu())
    return torch.cat(parts)


def validation_loss(network: RhythmNetwork, table: WindowTable, indices: NDArray[np.intp]) -> float:
    """Mean over the classes present of 1 - AUC, one against the rest; NaN without two classes.

    Ranks, not likelihoods: with five patients of a class a confident mistake on one of them
    outweighs in the likelihood all that is learned about the others.
    """
    score = logits_of(network, table, indices).softmax(dim=1).numpy()
    classes = table.certain_class[indices]
    present = np.unique(classes)
    if len(present) < 2:
        return float("nan")
    return float(np.mean([_rank_loss(score[:, index], classes == index) for index in present]))


def _rank_loss(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    ranks = np.argsort(np.argsort(score, kind="stable"), kind="stable") + 1
    n, m = int(positive.sum()), int((~positive).sum())
    return 1.0 - (float(ranks[positive].sum()) - n * (n + 1) / 2) / (n * m)
