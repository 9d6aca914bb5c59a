"""What the pipeline knows of a learned model, whatever runs it."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from wardstream.contracts.errors import ContractError, OutOfRangeError
from wardstream.contracts.model_manifest import ModelManifest


class ModelRefusedError(ContractError):
    """A bundle may not judge: tampered with, of another shape, or with wrong answers."""


PROBABILITY: Final = "probability"
QUALITY: Final = "quality"
EMBEDDING: Final = "embedding"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RhythmAnswers:
    """Everything a model says of n windows.

    Attributes
    ----------
    probability : ndarray of float32, shape (n, n_classes)
        Of each class of the manifest, 0 to 1.
    quality : ndarray of float32, shape (n, n_channels), or None
        Share of each channel's power that is the heart's, 0 to 1; 0 for a missing channel. None
        where the model does not say.
    embedding : ndarray of float32, shape (n, n_embedding), or None
        What the model saw, as a vector of length 1, for stages behind it.
    """

    probability: NDArray[np.float32]
    quality: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None


class RhythmRuntime(Protocol):
    """A model that is loaded, warm and ready to judge windows.

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
            Windows as `wardstream.kernels.windows` makes them; n may be 0. A missing channel is
            all zeros; channels behind the last one that is there may be left out.

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

    def describe(self, windows: NDArray[np.float32]) -> RhythmAnswers:
        """The same and all else the model says; arguments and errors as for `infer`."""
        ...


def with_all_channels(windows: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`windows` with zeros for the channels left out behind, shape (n, *shape).

    Raises
    ------
    OutOfRangeError
        They are no float32 windows of `shape` or of fewer channels.
    """
    fits = windows.ndim == 3 and 1 <= windows.shape[1] <= shape[0] and windows.shape[2] == shape[1]
    if not fits or windows.dtype != np.float32:
        raise OutOfRangeError(
            f"windows are {windows.dtype} of shape {windows.shape}, "
            f"expected float32 of (n, 1 to {shape[0]}, {shape[1]})"
        )
    if windows.shape[1] == shape[0]:
        return windows
    whole = np.zeros((len(windows), *shape), dtype=np.float32)
    whole[:, : windows.shape[1]] = windows
    return whole
