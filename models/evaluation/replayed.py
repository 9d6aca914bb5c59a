"""Which agent judges whom: the shipped model for all, or for each patient the fold's."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from models.evaluation.agent_replay import AgentReplay, ReplayedEvent
from models.evaluation.harness import EvaluationRequest
from models.settings import SHIPPED_BUNDLE
from wardstream.contracts.errors import ConfigurationError
from wardstream.inference.bundle import MANIFEST_FILE, read_manifest

AgentOf = Callable[[str], AgentReplay]
"""From a patient to the agent that may judge it."""


def replay_all(
    request: EvaluationRequest, agent_of: AgentOf, records: Sequence[tuple[str, Path]]
) -> list[list[ReplayedEvent]]:
    """Events of each of `records`, (patient, path), in their order.

    ``request.jobs`` agents run side by side, each a process of its own. What a record gave is
    kept as soon as it is there: a run that was killed goes on where it was.

    Raises
    ------
    UnreadableRecordError
        The agent refuses a recording.
    """
    n_done = 0
    counting = Lock()

    def one(item: tuple[str, Path]) -> list[ReplayedEvent]:
        nonlocal n_done
        patient, path = item
        events = agent_of(patient).events(path)
        with counting:
            n_done += 1
            request.progress(n_done, len(records), f"{path.parent.name}/{path.name}")
        return events

    if records:
        _ = agent_of(records[0][0]).key  # digested once, not by every thread
    with ThreadPoolExecutor(max_workers=max(request.jobs, 1)) as pool:
        try:
            return list(pool.map(one, records))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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
