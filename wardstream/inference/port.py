"""What the pipeline knows of a learned model, whatever runs it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import ContractError
from wardstream.contracts.model_manifest import ModelManifest


class ModelRefusedError(ContractError):
    """A bundle may not judge: tampered with, of another shape, or with wrong answers."""


class RhythmRuntime(Protocol):
    """A model that is loaded, warm and ready to judge windows of one lead each.

    The contract, proven for every implementation by the same tests: the answer for a window
    does not depend on what else is in the batch, the input is not changed, nothing is
    allocated that grows with time, and every probability lies in 0 to 1.
    """

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        ...

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of each class of the manifest.

        Parameters
        ----------
        windows : ndarray of float32, shape (n, channels, samples)
            Windows as `wardstream.kernels.windows` makes them; n may be 0.

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            Probabilities, 0 to 1, in the order of ``manifest.classes``.

        Raises
        ------
        OutOfRangeError
            `windows` has another shape than the manifest says.
        """
        ...
