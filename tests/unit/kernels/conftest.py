"""Curves that the kernels are tried on."""

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def ecg() -> NDArray[np.float32]:
    """Half a minute of two synthetic leads at 250 Hz in mV, 75 beats a minute."""
    time_s = np.arange(30 * 250) / 250
    phase = (time_s % 0.8) / 0.8
    qrs = np.exp(-(((phase - 0.30) / 0.012) ** 2)) - 0.2 * np.exp(-(((phase - 0.33) / 0.012) ** 2))
    t_wave = 0.25 * np.exp(-(((phase - 0.60) / 0.06) ** 2))
    noise = 0.01 * np.random.default_rng(1).standard_normal((2, time_s.size))
    return (np.stack([qrs + t_wave, 0.6 * qrs - t_wave]) + noise).astype(np.float32)
