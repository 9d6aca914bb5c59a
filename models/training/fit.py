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
from models.training.devices import Placement, current_placement, moved
from models.training.network import RhythmNetwork, quality_loss, set_loss, shockable_loss
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


def fit(
    task: FitTask,
    config: TrainingConfig,
    augmenter: Augmenter,
    report: EpochReport | None = None,
    placement: Placement | None = None,
) -> FitResult:
    """Train the network of `task`, going on from its checkpoint where there is one.

    Notes
    -----
    Deterministic on the CPU for one number of threads: weights come from `task.seed`, and the
    windows of an epoch from `task.seed` and its number, so that a resumed run sees the same.
    """
    placement = placement or current_placement(cpu_bfloat16=config.fit.cpu_bfloat16)
    torch.set_num_threads(config.fit.n_threads)
    torch.manual_seed(task.seed)
    run = _Run(task, config, augmenter, placement)
    watched = validation_indices(
        task.table, task.validation, at_most=_VALIDATION_WINDOWS_A_CLASS, seed=task.seed
    )
    while not run.state.finished and run.state.epoch < task.n_epochs:
        training_loss = run.epoch()
        loss = run.judged(watched) if len(watched) else float("nan")
        run.keep(loss)
        if report is not None and placement.is_first:
            report(run.state.epoch, task.n_epochs, training_loss, loss)
    network = RhythmNetwork(config.network)
    network.load_state_dict(run.state.best_weights)
    return FitResult(
        network=network.eval(),
        best_epoch=run.state.best_epoch,
        best_loss=run.state.best_loss,
    )


class _Run:
    # One fit under way: the network, its optimiser, and what a checkpoint holds of them.

    def __init__(
        self, task: FitTask, config: TrainingConfig, augmenter: Augmenter, placement: Placement
    ) -> None:
        self._task, self._config, self._augmenter = task, config, augmenter
        self._placement = placement
        fit_config = config.fit
        self._network = RhythmNetwork(config.network).to(placement.device)
        self._trained = placement.trained(self._network)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(),
            lr=fit_config.learning_rate,
            weight_decay=fit_config.weight_decay,
        )
        self._n_steps = max(fit_config.windows_per_epoch // fit_config.batch_size, 1)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            max_lr=fit_config.learning_rate,
            total_steps=self._n_steps * task.n_epochs + 1,
        )
        self._probability = sampling_probability(task.table, task.train, fit_config)
        self.state = self._taken_up()

    def _taken_up(self) -> FitState:
        digest = run_digest(self._task, self._config)
        state = load_state(self._task.checkpoint, digest) or FitState(
            run_digest=digest,
            best_weights=_copied(self._network),
            weights=_copied(self._network),
            averaged=_copied(self._network),
            optimiser=self._optimiser.state_dict(),
            schedule=self._schedule.state_dict(),
        )
        self._network.load_state_dict(state.weights)
        self._optimiser.load_state_dict(state.optimiser)
        self._schedule.load_state_dict(state.schedule)
        self._averaged = {
            name: value.to(self._placement.device) for name, value in state.averaged.items()
        }
        return state

    def epoch(self) -> float:
        """Run the next epoch and return its mean loss."""
        task, size = self._task, self._config.fit.batch_size
        generator = np.random.default_rng([task.seed, self.state.epoch])
        torch.manual_seed(task.seed + 7919 * (self.state.epoch + 1))
        drawn = generator.choice(task.train, self._n_steps * size, p=self._probability)
        losses: list[Tensor] = []
        for part in np.split(drawn, self._n_steps):
            # Each process draws for all, so that every one sees what it would see alone.
            batch = _batch(task.table, part, self._augmenter, self._config, generator)
            own = self._placement.share_of(np.arange(len(part), dtype=np.intp))
            shared = tuple(piece[own[0] : own[-1] + 1] for piece in batch)
            losses.append(self._step(moved(shared, self._placement.device)))
        return float(torch.stack(losses).mean())

    def _step(self, batch: tuple[Tensor, ...]) -> Tensor:
        windows, admissible, quality = batch
        fit_config = self._config.fit
        self._network.train()
        self._optimiser.zero_grad(set_to_none=True)
        with self._placement.autocast():
            found = self._trained(windows)
        logits = found.logits.float()
        loss = set_loss(logits, admissible, fit_config.label_smoothing).mean()
        loss = loss + fit_config.shockable_weight * shockable_loss(logits, admissible).mean()
        loss = loss + fit_config.quality_weight * quality_loss(
            found.quality_logits.float(), quality
        )
        cast("None", loss.backward())
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._average()
        return loss.detach()

    def _average(self) -> None:
        # Early steps weigh more: the average must not remember where it began.
        n_done = float(self._schedule.last_epoch)
        decay = min(self._config.fit.average_decay, n_done / (n_done + 10.0))
        for name, value in self._network.state_dict().items():
            average = self._averaged[name]
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def judged(self, watched: NDArray[np.intp]) -> float:
        """`validation_loss` of the averaged weights."""
        averaged = RhythmNetwork(self._config.network)
        averaged.load_state_dict(self._averaged)
        return validation_loss(averaged, self._task.table, watched)

    def keep(self, loss: float) -> None:
        """Note how the epoch ended, and write the checkpoint."""
        state, patience = self.state, self._config.fit.patience_epochs
        state.epoch += 1
        state.weights = _copied(self._network)
        state.averaged = {
            name: value.detach().cpu().clone() for name, value in self._averaged.items()
        }
        if patience == 0 or np.isnan(loss) or loss < state.best_loss:
            state.best_epoch = state.epoch
            state.best_loss = state.best_loss if np.isnan(loss) else loss
            state.best_weights = state.averaged
        elif state.epoch - state.best_epoch >= patience:
            state.finished = True
        state.optimiser = self._optimiser.state_dict()
        state.schedule = self._schedule.state_dict()
        state.finished = state.finished or state.epoch == self._task.n_epochs
        if self._placement.is_first:
            save_state(self._task.checkpoint, state)
        self._placement.wait_for_all()


def _copied(network: RhythmNetwork) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def run_digest(task: FitTask, config: TrainingConfig) -> str:
    """What makes two fits the same: configuration, labels, windows chosen, epochs, seed."""
    digest = sha256(config.digest.encode())
    digest.update(repr(sorted(task.table.digests.items())).encode())
    digest.update(task.train.tobytes() + task.validation.tobytes())
    digest.update(f"{task.n_epochs}/{task.seed}".encode())
    return digest.hexdigest()


def _batch(
    table: WindowTable,
    indices: NDArray[np.intp],
    augmenter: Augmenter,
    config: TrainingConfig,
    generator: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    # Windows (n, n_leads, 1000), admissible classes (n, n_classes), quality (n, n_leads).
    windows_mv = table.joined_mv(indices, config.network.n_leads)
    # The first lead is the one that was drawn; which it was is chance already.
    windows_mv[generator.random(len(indices)) < config.fit.lead_dropout, 1:] = np.nan
    admissible = table.admissible_of(indices)
    quality = augmenter.vary(windows_mv, admissible, generator)
    return (
        torch.from_numpy(normalised(windows_mv)),
        torch.from_numpy(admissible),
        torch.from_numpy(quality),
    )


def logits_of(
    network: RhythmNetwork, table: WindowTable, indices: NDArray[np.intp], *, batch_size: int = 256
) -> Tensor:
    """Logits of windows `indices` with all their leads, without augmentation, on the CPU."""
    network.eval()
    where = next(network.parameters()).device
    parts: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            part = indices[start : start + batch_size]
            windows = torch.from_numpy(table.normalised(part, network.n_leads))
            parts.append(network(windows.to(where)).logits.float().cpu())
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
