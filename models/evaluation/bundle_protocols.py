"""Protocols on labelled windows, as the harness asks for them."""

from models.evaluation.bundles import evaluate_bundle, stated_reports
from models.evaluation.harness import EvaluationRequest
from models.evaluation.outcome import Outcome, PredictionTable
from models.settings import SHIPPED_BUNDLE

_NO_ROWS = PredictionTable(("record", "start_s", "decision", "score"), ())


def evaluate_windows(request: EvaluationRequest) -> Outcome:
    """Se and Sp of every class: the artifact, or with ``--cross-validate`` what its folds gave."""
    bundle_dir = request.bundle_dir or SHIPPED_BUNDLE
    if request.cross_validate:
        report = stated_reports(bundle_dir, ["windows"])[0]
    else:
        report = evaluate_bundle(bundle_dir, ["windows"], request.data_dir, request.cache_dir)[0]
    return Outcome(report=report, predictions=_NO_ROWS)


def evaluate_quantization(request: EvaluationRequest) -> Outcome:
    """Agreement of the INT8 graphs of the folds with their networks, on held-out patients.

    Notes
    -----
    The networks exist where the model was built; the bundle states what was measured there.
    """
    report = stated_reports(request.bundle_dir or SHIPPED_BUNDLE, ["quantization"])[0]
    return Outcome(report=report, predictions=_NO_ROWS)
