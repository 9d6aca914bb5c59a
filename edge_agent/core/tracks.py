"""The kernels of one group of channels, and what they know at the newest sample."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.intake import GroupIntake, Stretch
from edge_agent.core.ring import SampleRing
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.units import Unit, conversion
from wardstream.kernels.resample import TARGET_PERIOD_NS
from wardstream.kernels.windows import HOP_S, WINDOW_SAMPLES, LeadPreprocessor, window_end_index

_RING_SAMPLES = 2 * WINDOW_SAMPLES
BLOCK_S = 0.04
"""Longest run judged at once: a long packet is judged as if it had come in short ones."""


class EcgTrack:
    """All ECG leads of one group: windows for the model."""

    def __init__(self, codes: tuple[str, ...], sampling_rate_hz: float) -> None:
        self.codes = codes
        self._leads = LeadPreprocessor(len(codes), sampling_rate_hz)
        self._filtered = SampleRing(len(codes), _RING_SAMPLES)
        self._start_ns = TimestampNs(0)
        self._next_hop = 0

    @property
    def time_ns(self) -> TimestampNs:
        """End of the newest 250 Hz sample."""
        return TimestampNs(self._start_ns + self._leads.n_out * TARGET_PERIOD_NS)

    def restart(self, start_time_ns: TimestampNs) -> None:
        """Forget the curve: the next sample is the first of a new one."""
        self._leads.reset()
        self._filtered.clear()
        self._start_ns = start_time_ns
        self._next_hop = 0

    def advance(self, samples_mv: NDArray[np.float32]) -> None:
        """Take in the next samples, shape (n_leads, n)."""
        _, filtered = self._leads.push(samples_mv)
        self._filtered.push(filtered)

    def due_windows(self) -> Iterator[tuple[TimestampNs, list[NDArray[np.float32]]]]:
        """Windows of every lead whose end has been passed, with that end."""
        while (end := window_end_index(self._next_hop, HOP_S)) <= self._filtered.n_written:
            self._next_hop += 1
            window = self._filtered.last(WINDOW_SAMPLES, end)
            yield TimestampNs(self._start_ns + end * TARGET_PERIOD_NS), list(window)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Quality of each lead now, 0 to 1."""
        return np.ones(len(self.codes))


class TrackGroup:
    """Channels that arrive together: their intake, their unit, their tracks."""

    def __init__(self, codes: tuple[str, ...], unit: Unit, sampling_rate_hz: float) -> None:
        self.codes = codes
        self.unit = unit
        self.intake = GroupIntake(sampling_rate_hz)
        self.quarantined: dict[str, str] = {}
        self._affine = np.ones((len(codes), 2))
        self._affine[:, 1] = 0.0
        for row, mdc in enumerate(codes):
            code = code_by_mdc(mdc)
            if code.modality is None:
                self.quarantined[mdc] = "is no curve"
            else:
                self._set_conversion(row, mdc, unit, code.unit)
        self._ecg_rows = [
            row
            for row, mdc in enumerate(codes)
            if mdc not in self.quarantined and code_by_mdc(mdc).modality is Modality.ECG
        ]
        ecg_codes = tuple(codes[row] for row in self._ecg_rows)
        self.ecg = EcgTrack(ecg_codes, sampling_rate_hz) if ecg_codes else None
        self._block = max(1, int(BLOCK_S * sampling_rate_hz))

    def _set_conversion(self, row: int, mdc: str, unit: Unit, target: Unit) -> None:
        try:
            self._affine[row] = conversion(unit, target)
        except OutOfRangeError as error:
            self.quarantined[mdc] = str(error)

    @property
    def end_time_ns(self) -> TimestampNs:
        """When the next sample is due."""
        return self.intake.end_time_ns

    @property
    def track_time_ns(self) -> TimestampNs:
        """End of the newest sample that was judged."""
        return self.end_time_ns if self.ecg is None else self.ecg.time_ns

    def blocks(self, stretch: Stretch) -> Iterator[int]:
        """Let the kernels take in `stretch`, block by block; yields after each."""
        if stretch.restart and self.ecg is not None:
            self.ecg.restart(stretch.start_time_ns)
        converted = (stretch.samples * self._affine[:, :1] + self._affine[:, 1:]).astype(np.float32)
        for begin in range(0, converted.shape[1], self._block):
            block = converted[:, begin : begin + self._block]
            if self.ecg is not None:
                self.ecg.advance(np.ascontiguousarray(block[self._ecg_rows]))
            yield begin
