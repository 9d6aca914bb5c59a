"""What a bedside does to a curve without changing its rhythm, on filtered samples in mV."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.datasets.recording import read_leads
from models.training.config import AugmentationConfig
from wardstream.contracts.model_manifest import RHYTHM_CLASSES
from wardstream.kernels.repetition import repetition_per_min
from wardstream.kernels.resample import TARGET_RATE_HZ
from wardstream.kernels.windows import filtered_record

_NOISE: Final = RHYTHM_CLASSES.index("noise")
_ASYSTOLE: Final = RHYTHM_CLASSES.index("asystole")
_STILL: Final = np.isin(RHYTHM_CLASSES, ("asystole", "noise"))
_PULSE: Final = np.isin(RHYTHM_CLASSES, ("sinus_like", "paced"))
_TACHYCARDIA: Final = np.isin(RHYTHM_CLASSES, ("vt",))
_RAPID_PER_MIN: Final = 150.0
_SLOWED_PER_MIN: Final = (65.0, 130.0)


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
    ) -> NDArray[np.float32]:
        """Change `windows_mv`, shape (n, n_leads, 1000), and where need be `admissible`, in place.

        Returns
        -------
        ndarray of float32, shape (n, n_leads)
            Share of each lead's power that is the heart's, 0 to 1; NaN where nobody knows it.
        """
        n, n_leads = windows_mv.shape[:2]
        config = self._config
        flips = np.where(generator.random((n, n_leads)) < config.flip_probability, -1.0, 1.0)
        gains = 2.0 ** generator.uniform(-config.gain_octaves, config.gain_octaves, (n, n_leads))
        windows_mv *= (flips * gains).astype(np.float32)[:, :, None]
        present = np.asarray(np.isfinite(windows_mv).any(axis=2))
        quality = np.full((n, n_leads), np.nan, dtype=np.float32)
        quality[present] = 1.0
        for i in range(n):
            self._vary_together(windows_mv[i], admissible[i], quality[i], generator)
            for lead in np.flatnonzero(present[i]):
                self._vary_lead(windows_mv[i], admissible[i], quality[i], int(lead), generator)
        return quality

    def _vary_together(
        self,
        leads: NDArray[np.float32],
        admissible: NDArray[np.bool_],
        quality: NDArray[np.float32],
        generator: np.random.Generator,
    ) -> None:
        # What happens to the heart or to the whole patient is seen in every lead.
        config, present = self._config, np.flatnonzero(np.isfinite(quality))
        chances = generator.random(3)
        is_noise = bool(admissible[_NOISE]) and int(admissible.sum()) == 1
        is_still = bool(admissible[_ASYSTOLE]) and int(admissible.sum()) == 1
        if is_noise:
            quality[present] = 0.0
            if chances[0] < config.pure_noise_probability and self._noise.pieces:
                for lead in present:
                    leads[lead] = self._noise.draw(generator, leads.shape[1])
        elif is_still:
            quality[present] = np.nan
            if chances[0] < config.standstill_probability:
                for lead in present:
                    leads[lead] = _standstill(leads.shape[1], generator)
        elif not (admissible & ~_TACHYCARDIA).any() and chances[1] < config.slowed_probability:
            leads[present] = _slowed_down(leads[present], admissible, generator)
        if chances[2] < config.stretch_probability:
            factor = 1 + generator.uniform(-1, 1) * config.stretch_fraction
            for lead in present:
                _stretch(leads[lead], factor)

    def _vary_lead(
        self,
        leads: NDArray[np.float32],
        admissible: NDArray[np.bool_],
        quality: NDArray[np.float32],
        lead: int,
        generator: np.random.Generator,
    ) -> None:
        # What happens at one electrode is seen in one lead.
        row, config = leads[lead], self._config
        chances = generator.random(3)
        if chances[0] < config.lead_off_probability:
            quality[lead] *= np.float32(_lead_off(row, generator))
            if not np.nan_to_num(quality, nan=0.0).any() and not admissible[_NOISE]:
                # All is still: this can no longer be told from asystole, and the label says so.
                admissible[:] = _STILL
        if chances[1] < config.noise_probability and self._noise.pieces:
            quality[lead] *= np.float32(self._mix_noise(row, generator))
        if chances[2] < config.wander_probability:
            _add_wander(row, generator)

    def _mix_noise(self, row: NDArray[np.float32], generator: np.random.Generator) -> float:
        # Mixes noise in and returns the share of power that is left to the signal.
        noise = self._noise.draw(generator, row.size)
        low, high = self._config.noise_snr_db
        ratio = 10 ** (generator.uniform(low, high) / 10)
        signal_power = float(np.nanvar(row)) if np.isfinite(row).any() else 0.0
        noise_power = float(np.nanvar(noise)) + 1e-9
        row += noise * np.float32(np.sqrt(signal_power / noise_power / ratio))
        return ratio / (1 + ratio)


def _lead_off(row: NDArray[np.float32], generator: np.random.Generator) -> float:
    # A loose electrode: part of the window falls still, rarely all of it. Returns what is left.
    if generator.random() < 0.3:
        row[:] = generator.normal(0, 0.004, row.size) if generator.random() < 0.7 else 0.0
        return 0.0
    length = int(generator.integers(25, 250))
    start = int(generator.integers(0, row.size - length))
    row[start : start + length] = np.nan if generator.random() < 0.5 else 0.0
    return 1 - length / row.size


def _slowed_down(
    leads: NDArray[np.float32], admissible: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.float32]:
    """Make of a tachycardia the same beats at a rate with a pulse, and label it so.

    Wide regular beats are shocked for their rate, not for their width: without such windows a
    network learns the width, for hardly any patient has both wide and slow beats.
    """
    rate = repetition_per_min(leads[:1])[0]
    if not rate > _RAPID_PER_MIN:
        return leads
    factor = generator.uniform(*_SLOWED_PER_MIN) / rate
    for row in leads:
        _stretch(row, float(factor))
    admissible[:] = _PULSE
    return leads


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
