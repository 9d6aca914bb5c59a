"""Flags of signal quality on real curves."""

from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import read_leads

from wardstream.contracts.codes import Modality
from wardstream.kernels.quality import LIMITS, QualityFlag, QualityMeter
from wardstream.kernels.resample import Resampler

pytestmark = pytest.mark.data


def seconds_with(flag: QualityFlag, record: Path, lead: int) -> float:
    """Share of two minutes."""
    if not record.with_suffix(".hea").exists():
        pytest.skip(f"{record} is not there")
    samples, rate_hz = read_leads(record, 60, 180)
    curve = Resampler(len(samples), rate_hz).push(samples)[lead : lead + 1]
    meter, found = QualityMeter(1, LIMITS[Modality.ECG]), []
    for begin in range(0, curve.shape[1] - 249, 250):
        meter.push(np.ascontiguousarray(curve[:, begin : begin + 250]))
        found.append(bool(meter.flags[0] & flag))
    return float(np.mean(found))


def test_a_flat_channel_is_flat_and_a_good_lead_is_not(recordings: Path) -> None:
    assert seconds_with(QualityFlag.FLAT, recordings / "cinc2015" / "a462s", 1) > 0.95
    assert seconds_with(QualityFlag.FLAT, recordings / "mitdb" / "101", 0) == 0.0
    assert seconds_with(QualityFlag.MAINS, recordings / "mitdb" / "101", 0) < 0.05
