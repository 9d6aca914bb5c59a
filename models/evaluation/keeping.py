"""What a protocol found, kept with the bundle it speaks of: its card is made from that alone."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from models.evaluation.outcome import Outcome
from models.evaluation.plots import strip_png
from models.evaluation.report import Failure, ProtocolReport
from wardstream.contracts.errors import RefusedError

FAILURES_DIR: Final = "failures"
N_FAILURES: Final = 3
"""Strips kept of each protocol."""

MOST_BYTES: Final = 300_000
"""Of all strips of a bundle."""


def keep(outcome: Outcome, bundle_dir: Path) -> ProtocolReport:
    """Write the report and strips of the worst cases of `outcome` into `bundle_dir`.

    Returns
    -------
    ProtocolReport
        The report as it was written, with its failures.

    Raises
    ------
    RefusedError
        The figures are of patients the model learned from, or the strips are too large.
    """
    report = outcome.report
    if not report.cross_validated:
        raise RefusedError(
            f"{report.protocol} was not judged by folds: a bundle keeps evidence only "
            "(--cross-validate)"
        )
    folder = bundle_dir / FAILURES_DIR
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{report.protocol}-*.png"):
        old.unlink()
    failures: list[Failure] = []
    for number, strip in enumerate(outcome.worst[:N_FAILURES], start=1):
        path = folder / f"{report.protocol}-{number}.png"
        path.write_bytes(strip_png(strip))
        failures.append(Failure(caption=strip.caption, image=f"{FAILURES_DIR}/{path.name}"))
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.png"))
    if n_bytes > MOST_BYTES:
        raise RefusedError(
            f"strips in {folder} have {n_bytes} bytes, at most {MOST_BYTES} are kept"
        )
    kept = replace(report, failures=failures)
    (bundle_dir / f"evaluation-{report.protocol}.json").write_bytes(kept.to_json() + b"\n")
    return kept
