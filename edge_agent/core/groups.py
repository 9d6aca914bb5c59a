"""Channels that arrive together: their order in time, their unit, their tracks."""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.ecg_track import EcgTrack
from edge_agent.core.intake import GroupIntake, Stretch
from edge_agent.core.tracks import Track, make_track
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.timebase import NS_PER_S, TimestampNs
from wardstream.contracts.units import Unit, conversion
from wardstream.kernels.quality import BIN_SAMPLES
from wardstream.kernels.resample import TARGET_RATE_HZ

BLOCK_S: Final = 0.04
"""Longest run judged at once: a long packet is judged as if it had come in short ones."""

_KEPT_SECONDS: Final = 16


class ChannelGroup:
    """One group of channels with one clock.

    Attributes
    ----------
    ecg : EcgTrack or None
        All ECG leads of the group.
    tracks : list of Track
        Every track, `ecg` included.
    quarantined : dict of code to str
        Channels that are not judged, with the reason.
    may_be_off : bool
        Any of its channels may have been off for long enough to be told.
    """

    def __init__(self, codes: tuple[str, ...], unit: Unit, sampling_rate_hz: float) -> None:
        self.codes = codes
        self.unit = unit
        self.intake = GroupIntake(sampling_rate_hz)
        self.quarantined: dict[str, str] = {}
        self.may_be_off = False
        self.ecg: EcgTrack | None = None
        self.tracks: list[Track] = []
        self._parts: list[tuple[Track, slice | list[int]]] = []
        self._scale = np.ones((len(codes), 1), dtype=np.float32)
        self._offset = np.zeros((len(codes), 1), dtype=np.float32)
        self._block = max(1, int(BLOCK_S * sampling_rate_hz))
        self._missing: dict[int, int] = {}
        self._put_off: list[Stretch] = []
        self._n_put_off = 0
        self._n_until_quality = 1
        self._make_tracks(sampling_rate_hz)
        self._converts = bool((self._scale != 1).any() or (self._offset != 0).any())
        leads = () if self.ecg is None else self.ecg.codes
        self._is_plain_ecg = leads == codes and not self._converts

    @property
    def end_time_ns(self) -> TimestampNs:
        """When the next sample is due."""
        return self.intake.end_time_ns

    @property
    def newest_ns(self) -> TimestampNs:
        """End of the newest sample judged."""
        # All have one clock and one rate.
        return self.tracks[0].time_ns if self.tracks else self.intake.end_time_ns

    def blocks(self, stretch: Stretch, every_block: Callable[[], bool]) -> Iterator[None]:
        """Let the kernels take in `stretch`; yields where there is something to judge.

        That is after each block, or, for an ECG while `every_block` says no, after those that
        end a window or leave it less than steady, and at the end.
        """
        self.catch_up()
        if stretch.restart:
            self._restart(stretch)
        elif stretch.stepped_ns:
            self._move(stretch.stepped_ns)
        if self.ecg is None or not self._is_plain_ecg:
            samples = self._prepared([stretch])
            for begin in range(0, samples.shape[1], self._block):
                self._advance(samples[:, begin : begin + self._block])
                yield
            return
        ecg, block = self.ecg, self._block
        leads = _writeable(np.ascontiguousarray(stretch.samples[self._parts[0][1]]))
        begin, n_missing = 0, ecg.n_missing
        while (left := leads.shape[1] - begin) > 0:
            stop = left <= block or every_block()
            begin = ecg.advance_to_event(leads, begin, every_block=stop)
            self.may_be_off = ecg.may_be_off
            if begin == leads.shape[1] and ecg.n_missing != n_missing:
                self._count_missing(stretch)
            yield

    def take_in(self, stretch: Stretch) -> bool:
        """Let the kernels take in `stretch` if it is one block of ECG leads and nothing else.

        False: nothing was taken in; `blocks` does what is left. The same, without a copy or an
        iterator, for what comes many times a second.
        """
        samples, ecg = stretch.samples, self.ecg
        if ecg is None or not self._is_plain_ecg or samples.shape[1] > self._block:
            return False
        if not samples.flags.carray:
            return False
        n_missing = ecg.n_missing
        ecg.advance_to_event(samples, 0, every_block=True)
        self.may_be_off = ecg.may_be_off
        if ecg.n_missing != n_missing:
            self._count_missing(stretch)
        return True

    def put_off(self, stretch: Stretch) -> bool:
        """Take in `stretch` when it is asked for, at the latest when a quality changes with it.

        True if that is now. For what only informs the judgement of others: the kernels give the same for any
        division into packets, so nobody can tell, and fewer calls cost less.
        """
        if stretch.restart:
            self._restart(stretch)
        elif stretch.stepped_ns:
            self.catch_up()
            self._move(stretch.stepped_ns)
        self._put_off.append(stretch)
        self._n_put_off += stretch.samples.shape[1]
        if self._n_put_off < self._n_until_quality:
            return False
        self.catch_up()
        return True

    def catch_up(self) -> None:
        """Take in what was put off."""
        if not self._put_off:
            return
        stretches, self._put_off = self._put_off, []
        self._advance(self._prepared(stretches))
        self._n_put_off = 0
        n_out = max((track.n_out for track in self.tracks), default=0)
        left = BIN_SAMPLES - n_out % BIN_SAMPLES
        self._n_until_quality = max(1, int(left * self.intake.sampling_rate_hz / TARGET_RATE_HZ))

    def _prepared(self, stretches: list[Stretch]) -> NDArray[np.float32]:
        # In the units of the codes, in one piece; missing samples counted.
        samples = stretches[0].samples
        if len(stretches) > 1:
            samples = np.concatenate([stretch.samples for stretch in stretches], axis=1)
        if math.isnan(np.minimum.reduce(samples, axis=None)):
            for stretch in stretches:
                self._count_missing(stretch)
        if self._converts:
            return samples * self._scale + self._offset
        return _writeable(samples)

    def _restart(self, stretch: Stretch) -> None:
        self._put_off.clear()
        self._n_put_off, self._n_until_quality = 0, 1
        self.may_be_off = False
        for track in self.tracks:
            track.restart(stretch.start_time_ns)

    def _move(self, by_ns: int) -> None:
        for track in self.tracks:
            track.move(by_ns)

    def _advance(self, samples: NDArray[np.float32]) -> None:
        for track, rows in self._parts:
            track.advance(np.ascontiguousarray(samples[rows]))
        self.may_be_off = any(track.may_be_off for track in self.tracks)

    def take_missing(self, second: int) -> int:
        """Samples missing in the second that begins at `second`, over all channels."""
        self.catch_up()
        return self._missing.pop(second, 0)

    def _make_tracks(self, sampling_rate_hz: float) -> None:
        ecg_rows: list[int] = []
        for row, mdc in enumerate(self.codes):
            code = code_by_mdc(mdc)
            if code.modality is None:
                self.quarantined[mdc] = "not a curve"
                continue
            try:
                scale, offset = conversion(self.unit, code.unit)
            except OutOfRangeError as error:
                self.quarantined[mdc] = str(error)
                continue
            self._scale[row], self._offset[row] = scale, offset
            if code.modality is Modality.ECG:
                ecg_rows.append(row)
            else:
                track = make_track(mdc, code.modality, sampling_rate_hz)
                self._parts.append((track, slice(row, row + 1)))
        if ecg_rows:
            codes = tuple(self.codes[row] for row in ecg_rows)
            self.ecg = EcgTrack(codes, sampling_rate_hz, self._block)
            self._parts.insert(0, (self.ecg, _as_slice(ecg_rows)))
        self.tracks = [track for track, _ in self._parts]

    def _count_missing(self, stretch: Stretch) -> None:
        columns = _missing_columns(stretch.samples)
        if not columns.size:
            return
        times = stretch.start_time_ns + columns / self.intake.sampling_rate_hz * NS_PER_S
        for second, count in zip(
            *np.unique((times // NS_PER_S).astype(np.int64), return_counts=True), strict=True
        ):
            self._missing[int(second)] = self._missing.get(int(second), 0) + int(count)
        while len(self._missing) > _KEPT_SECONDS:
            del self._missing[min(self._missing)]


def _writeable(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    # Kernels are compiled for arrays that may be written, though they do not write.
    return samples if samples.flags.writeable else samples.copy()


def _as_slice(rows: list[int]) -> slice | list[int]:
    # Neighbours are taken as they lie, without a copy.
    together = rows == list(range(rows[0], rows[-1] + 1))
    return slice(rows[0], rows[-1] + 1) if together else rows


def _missing_columns(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.nonzero(np.isnan(samples))[1].astype(np.float64)
