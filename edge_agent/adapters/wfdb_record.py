"""Any local WFDB record, block by block: all formats, several rates, segments, gaps."""

import csv
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.playback_blocks import Block, RecordedNumeric, RecordingReader, grouped
from edge_agent.adapters.wfdb_names import Mapping, map_channel
from edge_agent.core.ports import Quarantined, UnreadableSourceError
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.units import Unit

with warnings.catch_warnings():
    # wfdb 4.3 uses what pandas 3.1 deprecates, in the very act of being imported.
    warnings.simplefilter("ignore")
    import wfdb

logger = logging.getLogger(__name__)

# What wfdb raises for a record that is not there, not whole, or not WFDB.
_UNREADABLE: Final = (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError)

_NUMERICS: Final[dict[str, tuple[str, Unit]]] = {
    "HR": ("MDC_ECG_HEART_RATE", Unit.PER_MINUTE),
    "PULSE": ("MDC_PULS_OXIM_PULS_RATE", Unit.PER_MINUTE),
    "RESP": ("MDC_RESP_RATE", Unit.PER_MINUTE),
    "SpO2": ("MDC_PULS_OXIM_SAT_O2", Unit.PERCENT),
}
"""Columns of a BIDMC ``*_numerics.csv``; the units are those of that data set's description."""


@dataclass(frozen=True, slots=True)
class _Channel:
    """Where a delivered channel lies in the record."""

    name: str
    mapping: Mapping
    samples_per_frame: int


class WfdbReader(RecordingReader[_Channel]):
    """`FrameReader` of the WFDB record at `path` (without extension).

    Raises
    ------
    UnreadableSourceError
        There is no such record, or not one of its channels can be judged.
    """

    scheme = "wfdb"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        header = self._header()
        self._frame_rate_hz = float(header.fs)
        self._n_frames = int(header.sig_len or 0)
        if not self._frame_rate_hz > 0 or self._n_frames < 1:
            raise UnreadableSourceError(f"record {path} holds no samples")
        channels = self._map(self._described(header))
        self._check_any(channels)
        self._groups = grouped(
            (channel.mapping.code, channel.mapping.unit, channel.samples_per_frame, channel)
            for channel in channels
        )
        self._numerics = self._read_numerics()

    def read(self, first: int, last: int) -> Block:
        """Frames `first` to `last`, in physical units, missing samples NaN."""
        try:
            record: Any = wfdb.rdrecord(
                str(self._path), sampfrom=first, sampto=last, smooth_frames=False, m2s=True
            )
        except _UNREADABLE as error:
            raise UnreadableSourceError(
                f"record {self._path} cannot be read at frame {first}: {error}"
            ) from error
        stored = {
            name: (np.asarray(samples), unit or "mV", int(per_frame))
            for name, samples, unit, per_frame in zip(
                record.sig_name,
                record.e_p_signal,
                record.units,
                record.samps_per_frame,
                strict=True,
            )
        }
        samples = tuple(
            np.stack([self._carried(c, stored.get(c.name), last - first) for c in members])
            for _, members in self._groups
        )
        numerics = tuple(num for num in self._numerics if first <= num.frame < last)
        return Block(first, last, samples, numerics)

    def _carried(
        self, channel: _Channel, stored: tuple[NDArray[Any], str, int] | None, n_frames: int
    ) -> NDArray[np.float32]:
        n_samples = n_frames * channel.samples_per_frame
        carried = np.full(n_samples, np.nan, dtype=np.float32)
        # A segment may lack the channel, or hold it at another rate or in another unit.
        if stored is None or stored[2] != channel.samples_per_frame:
            return carried
        values, unit, _ = stored
        if np.isnan(values).all():
            return carried
        try:
            mapping = map_channel(channel.name, unit)
        except OutOfRangeError as error:
            logger.warning("%s of this segment is left out: %s", channel.name, error)
            return carried
        carried[: len(values)] = values[:n_samples] * mapping.scale + mapping.offset
        return carried

    # ---- what the header says -------------------------------------------------------------

    def _header(self) -> Any:
        try:
            return wfdb.rdheader(str(self._path), rd_segments=True)
        except _UNREADABLE as error:
            raise UnreadableSourceError(
                f"no readable WFDB record at {self._path}: {error}"
            ) from error

    def _described(self, header: Any) -> list[tuple[str, str, int]]:
        """(name, unit, samples per frame) of every channel, over all segments."""
        segments = getattr(header, "segments", None)
        found: dict[str, tuple[str, str, int]] = {}
        for part in [header] if segments is None else [s for s in segments if s is not None]:
            rows = zip(
                part.sig_name or (), part.units or (), part.samps_per_frame or (), strict=False
            )
            for name, unit, per_frame in rows:
                found.setdefault(name, (name, unit or "mV", int(per_frame or 1)))
        return list(found.values())

    def _map(self, described: list[tuple[str, str, int]]) -> list[_Channel]:
        channels: list[_Channel] = []
        taken: dict[str, str] = {}
        for name, unit, per_frame in described:
            try:
                mapping = map_channel(name, unit)
                if mapping.code in taken:
                    raise OutOfRangeError(f"{mapping.code} is {taken[mapping.code]} already")
            except OutOfRangeError as error:
                self._quarantined.append(Quarantined(name, str(error)))
                continue
            taken[mapping.code] = name
            channels.append(_Channel(name, mapping, per_frame))
        return channels

    def _read_numerics(self) -> list[RecordedNumeric]:
        path = self._path.with_name(f"{self._path.name}_numerics.csv")
        if not path.is_file():
            return []
        found: list[RecordedNumeric] = []
        with path.open(newline="") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                try:
                    frame = round(float(row["Time [s]"]) * self._frame_rate_hz)
                    for column, (code, unit) in _NUMERICS.items():
                        text = (row.get(column) or "").strip()
                        value = float(text) if text else float("nan")
                        found.append(RecordedNumeric(max(0, frame), code, value, unit))
                except (ValueError, KeyError) as error:
                    raise UnreadableSourceError(
                        f"{path} is not a numerics table: {error}"
                    ) from error
        return found
