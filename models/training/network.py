"""The rhythm network: plain strided convolutions, which fold and quantize without surprises."""

from typing import cast

import torch
from torch import Tensor, nn

from models.training.config import NetworkConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES


class RhythmNetwork(nn.Module):
    """Logits of `RHYTHM_CLASSES`, shape (n, 7), of windows (n, 1, 1000).

    Notes
    -----
    Every layer halves the length. With the default seven layers one output step sees 2 s, so
    that the distance of two beats is within its reach; mean and maximum over the steps then
    tell "always" from "at least once".
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
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
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * n_in, len(RHYTHM_CLASSES))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of `windows`."""
        steps: Tensor = self.features(windows)
        pooled = torch.cat([steps.mean(dim=2), steps.amax(dim=2)], dim=1)
        return cast("Tensor", self.head(self.dropout(pooled)))

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
