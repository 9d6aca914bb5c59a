"""The harmoniser as other parts call it: ``harmoniser(observation, patient)``, counted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from stream_processors.core.harmonising import Harmonised, Mapped, harmonise
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.terminology import LocalMapping, Terminology
from stream_processors.core.ucum import conversion, parse_ucum
from stream_processors.harmonise.graph import compile_terminology, read_graph
from wardstream.contracts.errors import ConfigurationError, ContractError


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

    def check_mapping(self, concept: str, unit: str | None) -> None:
        """Whether values of `unit` can be of `concept`.

        Raises
        ------
        ConfigurationError
            There is no such concept, or the unit is none, or does not measure it.
        """
        found = self.terminology.by_concept_name.get(concept)
        if found is None:
            raise ConfigurationError([f"no concept {concept!r}; `quarantine concepts` lists them"])
        if unit is None:
            return
        try:
            measured = parse_ucum(unit)
            if found.unit is not None:
                conversion(measured, parse_ucum(found.unit), found.substance)
        except ContractError as error:
            raise ConfigurationError([f"{concept}: {error}"]) from error

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
