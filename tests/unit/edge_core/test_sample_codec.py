"""What is kept of the curves is what came, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_agent.core.sample_codec import ChannelCodec, decode
from wardstream.contracts.errors import OutOfRangeError

FLOATS = st.floats(width=32, allow_infinity=False)


@given(hnp.arrays(np.float32, st.integers(1, 300), elements=FLOATS))
def test_any_samples_come_back_as_they_were(samples: np.ndarray) -> None:
    back = decode(ChannelCodec().encode(samples))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, samples)


@given(
    hnp.arrays(np.int32, st.integers(2, 400), elements=st.integers(-32768, 32767)),
    st.sampled_from([1.0, 200.0, 199.0, 7247.0, 12.5, 0.32, 1 / 0.0048828125]),
)
def test_adc_steps_come_back_as_they_were(counts: np.ndarray, gain: float) -> None:
    samples = (counts / gain).astype(np.float32)
    codec = ChannelCodec()
    for _ in range(2):  # with the grid found, and with the grid remembered
        np.testing.assert_array_equal(decode(codec.encode(samples)), samples)


@pytest.mark.parametrize("gain", [200.0, 1000.0, 7247.0, 2.5])
def test_a_curve_in_adc_steps_takes_a_third_of_its_floats(gain: float) -> None:
    time_s = np.arange(1250) / 250
    counts = np.rint(400 * np.sin(2 * np.pi * time_s) + 60 * np.sin(2 * np.pi * 13 * time_s))
    samples = (counts / gain).astype(np.float32)
    assert len(ChannelCodec().encode(samples)) < samples.nbytes / 3


def test_missing_samples_stay_missing() -> None:
    samples = np.array([np.nan, 1.0, 1.5, np.nan, np.nan, 2.0, np.nan], np.float32)
    np.testing.assert_array_equal(decode(ChannelCodec().encode(samples)), samples)
    nothing = np.full(9, np.nan, np.float32)
    np.testing.assert_array_equal(decode(ChannelCodec().encode(nothing)), nothing)


@given(st.binary(max_size=60))
def test_damage_is_told(noise: bytes) -> None:
    whole = ChannelCodec().encode(np.arange(50, dtype=np.float32))
    with pytest.raises(OutOfRangeError):
        decode(noise if len(noise) < 15 else whole[:20] + noise[:15])
