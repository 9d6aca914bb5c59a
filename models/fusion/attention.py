"""Fusion in the middle: one embedding a modality, and attention that says which to listen to."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.fusion.levels import Columns, Fused, Grow

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_WIDTH: Final = 32
_EPOCHS: Final = 30
_BATCH: Final = 256
_N_NETS: Final = 3
_CLIP: Final = 4.0


class AttentionNet(nn.Module):
    """Embeds each modality (values and what of them is missing), attends, decides."""

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.always = torch.as_tensor(np.flatnonzero(columns.modality < 0))
        self.own = [
            torch.as_tensor(np.flatnonzero(columns.modality == m))
            for m in range(len(columns.names))
        ]
        n_always = 2 * len(self.always)
        self.embed = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * len(own) + n_always, 2 * _WIDTH),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Linear(2 * _WIDTH, _WIDTH),
            )
            for own in self.own
        )
        self.ask = nn.ModuleList(nn.Linear(_WIDTH, 1) for _ in self.own)
        self.decide = nn.Sequential(nn.ReLU(), nn.Dropout(0.3), nn.Linear(_WIDTH, 1))

    def forward(self, values: Tensor, known: Tensor, present: Tensor) -> Tensor:
        """Log odds of shape (n,) from standardised values (0 where missing) and masks."""
        common = torch.cat([values[:, self.always], known[:, self.always]], dim=1)
        tokens = [
            embed(torch.cat([values[:, own], known[:, own], common], dim=1))
            for embed, own in zip(self.embed, self.own, strict=True)
        ]
        asked = torch.cat([ask(token) for ask, token in zip(self.ask, tokens, strict=True)], dim=1)
        weight = torch.softmax(asked.masked_fill(~present, -1e9), dim=1)
        fused = (weight[:, :, None] * torch.stack(tokens, dim=1)).sum(dim=1)
        return self.decide(fused)[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class MiddleFusion:
    """A few nets of other seeds, with how values are standardised."""

    columns: Columns
    centre: Floats
    spread: Floats
    nets: tuple[AttentionNet, ...]

    def log_odds(self, rows: Floats) -> Floats:
        """See `models.fusion.levels.Fused`."""
        present = self.columns.present(rows)
        inputs = _tensors(rows, self.centre, self.spread, present)
        with torch.no_grad():
            found: Any = torch.stack([net.eval()(*inputs) for net in self.nets]).mean(dim=0)
        return np.where(present.any(axis=1), found.numpy().astype(np.float64), np.nan)


def fit_middle(rows: Floats, truth: Bools, columns: Columns, grow: Grow, seed: int) -> Fused:
    """Adam, 30 epochs, weight decay, every batch with modalities taken away at random.

    `grow` is not asked: this level has its own learner.
    """
    del grow
    with np.errstate(all="ignore"):
        centre = np.nan_to_num(np.nanmedian(np.where(np.isfinite(rows), rows, np.nan), axis=0))
        spread = np.nanpercentile(rows, 75, axis=0) - np.nanpercentile(rows, 25, axis=0)
    spread = np.where(np.isfinite(spread) & (spread > 1e-6), spread, 1.0)
    nets = tuple(_fit_net(rows, truth, columns, (centre, spread), seed + k) for k in range(_N_NETS))
    return MiddleFusion(columns, centre, spread, nets)


def _fit_net(
    rows: Floats, truth: Bools, columns: Columns, scale: tuple[Floats, Floats], seed: int
) -> AttentionNet:
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    net = AttentionNet(columns)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    there = columns.present(rows)
    values, known, _ = _tensors(rows, *scale, there)
    target = torch.as_tensor(truth.astype(np.float32))
    column_of = torch.as_tensor(np.maximum(columns.modality, 0))
    always = torch.as_tensor(columns.modality < 0)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(_EPOCHS):
        net.train()
        order = generator.permutation(len(rows))
        for start in range(0, len(rows), _BATCH):
            chosen = order[start : start + _BATCH]
            stays = generator.random((len(chosen), len(columns.names))) > 0.2
            present = there[chosen] & stays
            present[~present.any(axis=1)] = there[chosen][~present.any(axis=1)]
            shown = torch.as_tensor(present)[:, column_of] | always
            answer = net(values[chosen] * shown, known[chosen] * shown, torch.as_tensor(present))
            loss = loss_of(answer, target[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net


def _tensors(
    rows: Floats, centre: Floats, spread: Floats, present: Bools
) -> tuple[Tensor, Tensor, Tensor]:
    finite = np.isfinite(rows)
    scaled = np.clip(np.where(finite, (rows - centre) / spread, 0.0), -_CLIP, _CLIP)
    return (
        torch.as_tensor(scaled.astype(np.float32)),
        torch.as_tensor(finite.astype(np.float32)),
        torch.as_tensor(present),
    )
