"""What a bedside does to a curve without changing its rhythm, on filtered samples in mV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.labels import admissible_bits
from models.datasets.recording import read_leads
from models.training.config import AugmentationConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import filtered_record

_NOISE: Final = RHYTHM_CLASSES.index("noise")
_ASYSTOLE: Final = RHYTHM_CLASSES.index("asystole")
_STILL: Final = admissible_bits(("asystole", "noise"))


@dataclass(frozen=True, slots=True, eq=False)
class NoiseBank:
    """Filtered noise recordings to mix in, each float32 of shape (n_samples,), unit mV."""

    pieces: tuple[NDArray[np.float32], ...]

    def draw(self, generator: np.random.Generator, n_samples: int) -> NDArray[np.float32]:
        """A random stretch of a random recording."""
        piece = self.pieces[int(generator.integers(len(self.pieces)))]
        start = int(generator.integers(len(piece) - n_samples))
        return piece[start : start + n_samples]


def load_noise_bank(data_dir: Path) -> NoiseBank:
    """nstdb (wander, electrode motion, muscle) through the filters of ``ecg250-v1``; else empty.

    The second half of each recording stays unheard: the noise-stress protocol is run on it.
    """
    pieces: list[NDArray[np.float32]] = []
    for name in ("bw", "em", "ma"):
        path = data_dir / "nstdb" / name
        if path.with_suffix(".hea").exists():
            signal = read_leads(path, every_channel=True)
            half = signal.samples_mv.shape[1] // 2
            pieces += [
                filtered_record(lead[:half], signal.sampling_rate_hz)[1000:]
                for lead in signal.samples_mv
            ]
    return NoiseBank(tuple(pieces))


class Augmenter:
    """Draws variants of windows; the same generator state gives the same variants."""

    def __init__(self, config: AugmentationConfig, noise: NoiseBank) -> None:
        self._config = config
        self._noise = noise

    def vary(
        self,
        windows_mv: NDArray[np.float32],
        admissible: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> None:
        """Change `windows_mv`, shape (n, 1000), and where need be `admissible`, in place."""
        n = len(windows_mv)
        config = self._config
        flips = np.where(generator.random(n) < config.flip_probability, -1.0, 1.0)
        gains = 2.0 ** generator.uniform(-config.gain_octaves, config.gain_octaves, n)
        windows_mv *= (flips * gains).astype(np.float32)[:, None]
        chances = generator.random((n, 4))
        for i in range(n):
            row = windows_mv[i]
            is_noise = bool(admissible[i, _NOISE]) and int(admissible[i].sum()) == 1
            is_still = bool(admissible[i, _ASYSTOLE]) and int(admissible[i].sum()) == 1
            if is_noise and chances[i, 0] < config.pure_noise_probability and self._noise.pieces:
                row[:] = self._noise.draw(generator, row.size)
            elif is_still and chances[i, 0] < config.standstill_probability:
                row[:] = _standstill(row.size, generator)
            elif chances[i, 0] < config.lead_off_probability:
                self._lead_off(row, admissible[i], generator)
            if chances[i, 1] < config.stretch_probability:
                _stretch(row, 1 + generator.uniform(-1, 1) * config.stretch_fraction)
            if chances[i, 2] < config.noise_probability and self._noise.pieces:
                self._mix_noise(row, generator)
            if chances[i, 3] < config.wander_probability:
                _add_wander(row, generator)

    def _mix_noise(self, row: NDArray[np.float32], generator: np.random.Generator) -> None:
        noise = self._noise.draw(generator, row.size)
        low, high = self._config.noise_snr_db
        snr_db = generator.uniform(low, high)
        signal_power = float(np.nanvar(row)) if np.isfinite(row).any() else 0.0
        noise_power = float(np.nanvar(noise)) + 1e-9
        row += noise * np.float32(np.sqrt(signal_power / noise_power * 10 ** (-snr_db / 10)))

    @staticmethod
    def _lead_off(
        row: NDArray[np.float32], admissible: NDArray[np.bool_], generator: np.random.Generator
    ) -> None:
        # A loose electrode: part of the window falls still, rarely all of it. All of it can no
        # longer be told from asystole by this lead alone, and the label says so.
        if generator.random() < 0.3:
            row[:] = generator.normal(0, 0.004, row.size)
            admissible[:] = (_STILL >> np.arange(admissible.size)) & 1
            return
        length = int(generator.integers(25, 250))
        start = int(generator.integers(0, row.size - length))
        row[start : start + length] = np.nan if generator.random() < 0.5 else 0.0


def _standstill(n_samples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Ventricular standstill: wandering baseline, a little noise, sometimes lone P waves.

    Recordings hold it in a dozen patients, nine minutes of it in one; what a network must not
    learn is that one's wander.
    """
    time_s = np.arange(n_samples) / TARGET_RATE_HZ
    curve = generator.normal(0, generator.uniform(0.003, 0.03), n_samples)
    for _ in range(3):
        frequency_hz = generator.uniform(0.2, 1.5)
        amplitude_mv = generator.uniform(0.0, 0.25) / (1 + frequency_hz)
        curve += amplitude_mv * np.sin(2 * np.pi * (frequency_hz * time_s + generator.random()))
    if generator.random() < 0.3:
        period_s = generator.uniform(0.5, 2.0)
        phase_s = (time_s + generator.uniform(0, period_s)) % period_s - period_s / 2
        width_s = generator.uniform(0.03, 0.06)
        curve += generator.uniform(0.03, 0.2) * np.exp(-0.5 * (phase_s / width_s) ** 2)
    return curve


def _stretch(row: NDArray[np.float32], factor: float) -> None:
    positions = np.clip(
        (np.arange(row.size) - row.size / 2) * factor + row.size / 2, 0, row.size - 1
    )
    row[:] = np.interp(positions, np.arange(row.size), row)


def _add_wander(row: NDArray[np.float32], generator: np.random.Generator) -> None:
    frequency_hz = generator.uniform(0.3, 0.9)
    phase = generator.uniform(0, 2 * np.pi)
    spread = float(np.nanstd(row)) if np.isfinite(row).any() else 0.0
    amplitude_mv = generator.uniform(0, 1.5) * spread
    time_s = np.arange(row.size) / TARGET_RATE_HZ
    row += (amplitude_mv * np.sin(2 * np.pi * frequency_hz * time_s + phase)).astype(np.float32)
