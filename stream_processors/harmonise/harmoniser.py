"""The harmoniser as other parts call it: ``harmoniser(observation, patient)``, counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from stream_processors.core.harmonising import Harmonised, Mapped, harmonise
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.terminology import LocalMapping, Terminology
from stream_processors.harmonise.graph import compile_terminology, read_graph


@dataclass(frozen=True, slots=True)
class HarmoniserCounts:
    """What came and where it went; ``n_in == n_mapped + sum(quarantined.values())``, always.

    Attributes
    ----------
    n_in, n_mapped : int
        Observations.
    quarantined : dict of str to int
        By reason.
    """

    n_in: int
    n_mapped: int
    quarantined: dict[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether everything that came is accounted for."""
        return self.n_in == self.n_mapped + sum(self.quarantined.values())


class Harmoniser:
    """Maps observations by the compiled terminology and keeps count."""

    def __init__(self, terminology: Terminology) -> None:
        self.terminology = terminology
        self._n_in = 0
        self._n_mapped = 0
        self._quarantined: Counter[str] = Counter()

    def __call__(self, observation: Observation, patient: PatientFacts | None = None) -> Harmonised:
        """`observation` mapped, or held back with a reason."""
        self._n_in += 1
        result = harmonise(self.terminology, observation, patient)
        if isinstance(result, Mapped):
            self._n_mapped += 1
        else:
            self._quarantined[result.reason.value] += 1
        return result

    def learn(self, mappings: Iterable[LocalMapping]) -> None:
        """Make what people said the whole of what is local: all of it, and nothing older."""
        self.terminology.forget_learned()
        for mapping in mappings:
            self.terminology.learn(mapping)

    def counts(self) -> HarmoniserCounts:
        """Where everything went so far."""
        return HarmoniserCounts(self._n_in, self._n_mapped, dict(self._quarantined))


def load_harmoniser() -> Harmoniser:
    """A harmoniser with the graph this version ships; takes about a quarter of a second.

    Raises
    ------
    ConfigurationError
        The graph contradicts itself.
    """
    return Harmoniser(compile_terminology(read_graph()))
