import numpy as np
import pytest
from fakes.bedside import LEAD_II, chunks, ecg, regular

from wardstream.contracts.frame import FeatureFrame

SECONDS = 45


def test_without_a_respiration_curve_the_beats_tell_the_rate(bed) -> None:
    curve = ecg(regular(75, 0.3, SECONDS), SECONDS)
    times = np.arange(curve.size) * SECONDS / curve.size
    breathing = 1 + 0.15 * np.sin(2 * np.pi * 14 / 60 * times)
    bed.push(chunks({LEAD_II: (curve * breathing).astype(np.float32)}))
    last = bed.told(FeatureFrame)[-1]
    assert last["respiration_rate_per_min"] == pytest.approx(14, abs=1)
    assert np.isnan(last["quality_resp"])


def test_beats_that_do_not_breathe_tell_no_rate(bed) -> None:
    curve = ecg(regular(75, 0.3, 15), 15)
    bed.push(chunks({LEAD_II: curve}))
    assert np.isnan(bed.told(FeatureFrame)[-1]["respiration_rate_per_min"])
