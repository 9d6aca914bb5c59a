"""Which agent judges whom: the shipped model for all, or for each patient the fold's."""

from collections.abc import Callable, Sequence

from models.evaluation.agent_replay import AgentReplay
from models.evaluation.harness import EvaluationRequest
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.bundle import MANIFEST_FILE, read_manifest

AgentOf = Callable[[str], AgentReplay]
"""From a patient to the agent that may judge it."""


def agents_for(
    request: EvaluationRequest, patients: Sequence[str]
) -> tuple[AgentOf, list[list[str]], str]:
    """The agents, the patients of each fold (empty without folds), and the model's name.

    Raises
    ------
    ConfigurationError
        Folds were asked for and cannot be trained here.
    """
    if not request.cross_validate:
        bundle_dir = request.bundle_dir or SHIPPED_BUNDLE
        agent = AgentReplay(bundle_dir=bundle_dir, cache_dir=request.cache_dir)
        name = "none (rules alone)"
        if (bundle_dir / MANIFEST_FILE).exists():
            manifest = read_manifest(bundle_dir)
            name = f"{manifest.name}/{manifest.version} {manifest.sha256[:12]}"
        return (lambda patient: agent), [], name
    if request.fold_bundles is None:
        raise ConfigurationError(["no folds can be trained here"])
    folds = request.fold_bundles(request.data_dir, request.cache_dir)
    agents = [
        AgentReplay(bundle_dir=path, cache_dir=request.cache_dir) for path in folds.bundle_dirs
    ]

    def agent_of(patient: str) -> AgentReplay:
        # A patient nobody learned from may be judged by any fold.
        return agents[folds.fold_of.get(patient, 0)]

    lists: list[list[str]] = [[] for _ in agents]
    for patient in sorted(set(patients)):
        lists[folds.fold_of.get(patient, 0)].append(patient)
    return agent_of, lists, f"{folds.name} by {len(agents)} folds"
