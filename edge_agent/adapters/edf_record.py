"""An EDF or EDF+C recording, block by block: several rates, stated units."""

import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.adapters.optional import import_driver
from edge_agent.adapters.playback_blocks import Block, RecordedNumeric, RecordingReader, grouped
from edge_agent.adapters.wfdb_names import Mapping, map_channel
from edge_agent.core.ports import Quarantined, UnreadableSourceError
from wardstream.contracts.errors import OutOfRangeError
from wardstream.contracts.units import Unit

logger = logging.getLogger(__name__)

# What edfio raises for a file that is not there, not whole, or not EDF.
_UNREADABLE: Final = (
    OSError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,  # a header that states no samples a record
    NameError,  # edfio 0.4 on a data record of no duration
)

NUMERICS: Final[dict[tuple[str, str], tuple[str, Unit]]] = {
    ("SaO2", "%"): ("MDC_PULS_OXIM_SAT_O2", Unit.PERCENT),
    ("SpO2", "%"): ("MDC_PULS_OXIM_SAT_O2", Unit.PERCENT),
    ("Temp", "degC"): ("MDC_TEMP", Unit.CELSIUS),
}
"""(label, physical dimension) of signals that are numerics, in the EDF+ standard texts.

A pulse oximeter writes its value once or a few times a second."""

MAX_NUMERIC_HZ: Final = 4.0
"""A faster signal is a curve, whatever its label."""


@dataclass(frozen=True, slots=True)
class _Curve:
    signal: Any
    mapping: Mapping
    per_record: int


@dataclass(frozen=True, slots=True)
class _Numeric:
    signal: Any
    code: str
    unit: Unit


class EdfReader(RecordingReader[_Curve]):
    """`FrameReader` of the EDF or EDF+C file at `path`.

    Labels are those of the EDF+ standard texts (``ECG II``, ``Resp chest``) or the names WFDB
    records use; units as the header spells them. A signal of another name or unit is
    quarantined. The frame rate is the greatest common divisor of the signals' rates.

    Raises
    ------
    UnreadableSourceError
        There is no such file, it is discontinuous (EDF+D), or nothing in it can be judged.
    """

    scheme = "edf"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._edf = self._open()
        self._curves: list[_Curve] = []
        self._numerics: list[_Numeric] = []
        self._sort_out()
        self._check_any(self._curves)
        record_s = float(self._edf.data_record_duration)
        frames_per_record = math.gcd(*(curve.per_record for curve in self._curves))
        self._frame_rate_hz = frames_per_record / record_s
        self._n_frames = int(self._edf.num_data_records) * frames_per_record
        self._groups = grouped(
            (curve.mapping.code, curve.mapping.unit, curve.per_record // frames_per_record, curve)
            for curve in self._curves
        )

    def read(self, first: int, last: int) -> Block:
        """Frames `first` to `last` in the unit of each group."""
        begin_s, end_s = first / self._frame_rate_hz, last / self._frame_rate_hz
        try:
            samples = tuple(
                np.stack([_carried(curve, begin_s, end_s) for curve in members])
                for _, members in self._groups
            )
            numerics = tuple(self._values(first, last))
        except _UNREADABLE as error:
            raise UnreadableSourceError(
                f"{self._path} cannot be read at frame {first}: {error}"
            ) from error
        return Block(first, last, samples, numerics)

    def _open(self) -> Any:
        edfio: Any = import_driver("edfio")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                edf = edfio.read_edf(self._path, lazy_load_data=True)
                n_records = int(edf.num_data_records)
                record_s = float(edf.data_record_duration)
                continuous = bool(edf.is_continuous)
        except _UNREADABLE as error:
            raise UnreadableSourceError(f"no readable EDF file at {self._path}: {error}") from error
        for warning in told:
            logger.warning("%s: %s", self._path.name, warning.message)
        if n_records < 1 or not record_s > 0:
            raise UnreadableSourceError(f"EDF file {self._path} holds no samples")
        if not continuous:
            raise UnreadableSourceError(
                f"{self._path} is discontinuous (EDF+D): save it as EDF+C, one file a stretch"
            )
        return edf

    def _sort_out(self) -> None:
        taken: dict[str, str] = {}
        for signal in self._edf.signals:
            label = "?"
            try:
                label = str(signal.label)
                unit = str(signal.physical_dimension)
                _check_calibration(signal)
                numeric = NUMERICS.get((label, unit))
                if numeric is not None and signal.sampling_frequency <= MAX_NUMERIC_HZ:
                    self._numerics.append(_Numeric(signal, *numeric))
                    continue
                mapping = map_channel(label.removeprefix("ECG ").removesuffix(" chest"), unit)
                if mapping.code in taken:
                    raise OutOfRangeError(f"{mapping.code} is {taken[mapping.code]} already")
                curve = _Curve(signal, mapping, int(signal.samples_per_data_record))
            except (*_UNREADABLE, OutOfRangeError) as error:
                self._quarantined.append(Quarantined(label, str(error)))
                continue
            taken[mapping.code] = label
            self._curves.append(curve)

    def _values(self, first: int, last: int) -> list[RecordedNumeric]:
        found: list[RecordedNumeric] = []
        for numeric in self._numerics:
            rate_hz = float(numeric.signal.sampling_frequency)
            # Value i was determined at i / rate: it belongs to the frame that holds that moment.
            a = math.ceil(first / self._frame_rate_hz * rate_hz - 1e-9)
            b = math.ceil(last / self._frame_rate_hz * rate_hz - 1e-9)
            if a >= b:
                continue
            values = numeric.signal.get_data_slice(a / rate_hz, b / rate_hz)
            found += [
                RecordedNumeric(
                    min(last - 1, round((a + i) / rate_hz * self._frame_rate_hz)),
                    numeric.code,
                    float(value),
                    numeric.unit,
                )
                for i, value in enumerate(values)
            ]
        return found


def _carried(curve: _Curve, begin_s: float, end_s: float) -> Any:
    values = curve.signal.get_data_slice(begin_s, end_s)
    return (values * curve.mapping.scale + curve.mapping.offset).astype(np.float32)


def _check_calibration(signal: Any) -> None:
    physical, digital = signal.physical_range, signal.digital_range
    if not all(math.isfinite(bound) for bound in (*physical, *digital)):
        raise OutOfRangeError("its calibration is not finite")
    if physical[0] == physical[1] or digital[0] == digital[1]:
        raise OutOfRangeError("its calibration spans nothing: minimum equals maximum")
    if int(signal.samples_per_data_record) < 1:
        raise OutOfRangeError("it has no samples")
