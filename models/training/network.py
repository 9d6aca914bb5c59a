"""The rhythm network: one encoder for every lead, its views weighed by what each lead is worth."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from models.training.config import NetworkConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES

PRESENCE_GAIN = 1e4
"""A channel whose largest value is above 1/1e4 of a normalised unit is there."""

SMALLEST = 1e-6
"""Keeps sums and lengths away from 0 where no channel is there."""


class RhythmOutputs(NamedTuple):
    """What the network says of n windows of C channels.

    Attributes
    ----------
    logits : Tensor, shape (n, n_classes)
        Of `RHYTHM_CLASSES`.
    quality : Tensor, shape (n, C)
        Share of each channel's power that is the heart's, 0 to 1; 0 for a missing channel.
    quality_logits : Tensor, shape (n, C)
        The same before the sigmoid and whether or not the channel is there, for the loss.
    embedding : Tensor, shape (n, n_embedding)
        Penultimate layer, of length 1.
    """

    logits: Tensor
    quality: Tensor
    quality_logits: Tensor
    embedding: Tensor


class RhythmNetwork(nn.Module):
    """Rhythm, signal quality and an embedding of windows (n, C, 1000), any C.

    Notes
    -----
    A missing channel is all zeros. Leads share their weights and are pooled by their quality, so
    that neither their order nor their number has to be learned, and one lead of noise does not
    speak for the other. Every layer halves the length: with seven layers one output step sees
    2 s, so that the distance of two beats is within its reach; mean and maximum over the steps
    then tell "always" from "at least once".
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.n_leads = config.n_leads
        layers: list[nn.Module] = []
        n_in = 1
        for n_out, kernel in zip(config.channels, config.kernels, strict=True):
            layers += [
                nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm1d(n_out),
                nn.ReLU(),
            ]
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.quality = nn.Linear(2 * n_in, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(2 * n_in, config.n_embedding)
        self.head = nn.Linear(config.n_embedding, len(RHYTHM_CLASSES))

    def forward(self, windows: Tensor) -> RhythmOutputs:
        """What the network says of `windows`, shape (n, C, n_samples)."""
        n, n_channels, n_samples = windows.shape
        present = (windows.abs().amax(dim=2) * PRESENCE_GAIN).clamp(0, 1)
        leads = windows.reshape(n * n_channels, 1, n_samples)
        pooled = self._views_of_present(leads, present) if self.training else self._views(leads)
        quality_logits = cast("Tensor", self.quality(pooled)).reshape(n, n_channels)
        quality = quality_logits.sigmoid() * present
        weight = quality / (quality.sum(dim=1, keepdim=True) + SMALLEST)
        by_lead = pooled.reshape(n, n_channels, pooled.shape[1])
        fused = (by_lead * weight.unsqueeze(2)).sum(dim=1)
        hidden = torch.relu(cast("Tensor", self.embedding(self.dropout(fused))))
        length = hidden.norm(dim=1, keepdim=True).clamp_min(SMALLEST)
        return RhythmOutputs(self.head(hidden), quality, quality_logits, hidden / length)

    def _views(self, leads: Tensor) -> Tensor:
        steps: Tensor = self.features(leads)
        return torch.cat([steps.mean(dim=2), steps.amax(dim=2)], dim=1)

    def _views_of_present(self, leads: Tensor, present: Tensor) -> Tensor:
        # Batch statistics are of curves, not of the zeros of missing channels, and no time is
        # spent on those.
        there = present.reshape(-1).nonzero().squeeze(1)
        found = self._views(leads[there]).float()
        return torch.zeros(len(leads), found.shape[1], device=leads.device).index_copy(
            0, there, found
        )

    @property
    def n_parameters(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())


def set_loss(logits: Tensor, admissible: Tensor, smoothing: float) -> Tensor:
    """Minus the log-probability of each window's set of admissible classes, shape (n,).

    Parameters
    ----------
    logits : Tensor, shape (n, n_classes)
        Of the network.
    admissible : Tensor of bool, shape (n, n_classes)
        Which classes may be true; one for a certain label, which gives plain cross-entropy.
    smoothing : float
        Part of the loss that asks for a uniform answer, in [0, 1).
    """
    log_probability = logits.log_softmax(dim=1)
    of_set = log_probability.masked_fill(~admissible, -torch.inf).logsumexp(dim=1)
    return -(1 - smoothing) * of_set - smoothing * log_probability.mean(dim=1)


def shockable_loss(logits: Tensor, admissible: Tensor) -> Tensor:
    """Minus the log-probability of the right side of "vt or vf", shape (n,); 0 where unknown.

    The classes compete for a window's probability; whether to shock is one question of its own,
    and the one that costs most when it is answered wrong.
    """
    shockable = torch.zeros(len(RHYTHM_CLASSES), dtype=torch.bool, device=logits.device)
    shockable[[RHYTHM_CLASSES.index("vt"), RHYTHM_CLASSES.index("vf")]] = True
    is_shockable = ~(admissible & ~shockable).any(dim=1)
    is_not = ~(admissible & shockable).any(dim=1)
    side = torch.where(is_shockable[:, None], shockable, ~shockable)
    loss = set_loss(logits, side, 0.0)
    return torch.where(is_shockable | is_not, loss, torch.zeros_like(loss))


def quality_loss(logits: Tensor, quality: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` with `quality`, shapes (n, C); NaN where nobody knows it."""
    known = torch.isfinite(quality)
    target = torch.where(known, quality, torch.zeros_like(quality))
    loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * known).sum() / known.sum().clamp_min(1)
