"""A physiological simulator: one heart drives the ECG, the pressure and the pulse.

Every curve follows from the same list of beats: the ECG as a sum of Gaussians around each
R peak (McSharry and others, IEEE Trans Biomed Eng 50:289-294, 2003), pressure and
plethysmogram as delayed ejections of each beat, all of them modulated by one respiration. So
an asystole silences the pulse, fibrillation lets the pressure decay, and a loose electrode
leaves the pulse alone, as in a patient.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.adapters.playback_blocks import Block, ChannelGroup, RecordedNumeric
from edge_agent.adapters.scenario import RHYTHMS, Crisis, Scenario
from edge_agent.core.ports import Quarantined
from wardstream.contracts.units import Unit

Array = NDArray[np.float64]

FRAME_RATE_HZ: Final = 125.0
ECG_PER_FRAME: Final = 2
GRID_S: Final = 0.1
"""How finely the script is looked up."""

# Lead II and a chest lead: (centre in s from R, width in s, mV in II, mV in V). T moves with RR.
_P: Final = (-0.17, 0.025, 0.13, 0.09)
_QRS: Final = (
    (-0.028, 0.009, -0.10, -0.05),
    (0.0, 0.011, 1.05, 0.55),
    (0.027, 0.010, -0.22, -0.95),
)
_T: Final = (0.27, 0.050, 0.28, 0.36)
_VENTRICULAR: Final = ((-0.03, 0.045, 1.15, -0.90), (0.07, 0.055, -0.85, 1.00))

_ALONE: Final = {
    Crisis.BRADYCARDIA: 31.0,
    Crisis.TACHYCARDIA: 158.0,
    Crisis.VENTRICULAR_TACHYCARDIA: 185.0,
    Crisis.ATRIAL_FIBRILLATION: 118.0,
}
"""Rate per minute of a rhythm that sets its own."""

_PULSELESS: Final = frozenset({Crisis.VENTRICULAR_FIBRILLATION, Crisis.ASYSTOLE})


@dataclass(frozen=True, slots=True)
class _Beat:
    time_s: float
    rr_s: float
    rhythm: Crisis | None
    stroke: float
    """Ejection relative to rest, 0 to 1."""


class SimulatedPatient:
    """`FrameReader` that never ends: a patient who lives by `scenario`.

    Blocks are meant to be read in order; a jump begins a new patient state at that second of
    the script. The same seed and the same order of reading give the same samples.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self._next_frame = -1
        self._begin(0)

    @property
    def description(self) -> str:
        """``simulator`` and the script's title."""
        return f"simulator:{self._scenario.title}"

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return FRAME_RATE_HZ

    @property
    def n_frames(self) -> int | None:
        """It never ends."""
        return None

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """ECG II and V at 250 Hz; pressure, pulse and respiration at 125 Hz."""
        return (
            ChannelGroup(
                ("MDC_ECG_ELEC_POTL_II", "MDC_ECG_ELEC_POTL_V"), Unit.MILLIVOLT, ECG_PER_FRAME
            ),
            ChannelGroup(("MDC_PRESS_BLD_ART",), Unit.MMHG, 1),
            ChannelGroup(("MDC_PULS_OXIM_PLETH", "MDC_RESP"), Unit.ARBITRARY, 1),
        )

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """None."""
        return ()

    def read(self, first: int, last: int) -> Block:
        """Frames `first` to `last`."""
        if first != self._next_frame:
            self._begin(first)
        self._next_frame = last
        slow_s = np.arange(first, last) / FRAME_RATE_HZ
        fast_s = np.arange(first * ECG_PER_FRAME, last * ECG_PER_FRAME) / (
            FRAME_RATE_HZ * ECG_PER_FRAME
        )
        self._extend_beats(fast_s[-1] + 1.5)
        breath_fast, breath = self._breathing(fast_s), self._breathing(slow_s)
        ecg = self._ecg(fast_s, breath_fast)
        pressure = self._pressure(slow_s, breath)
        pleth = self._pleth(slow_s, breath)
        respiration = 0.5 * breath + 0.03 * np.sin(2 * math.pi * 1.2 * slow_s)
        self._disturb(fast_s, slow_s, ecg, pleth)
        samples = [ecg, pressure[None, :], np.stack([pleth, respiration])]
        self._silence(fast_s, slow_s, samples)
        numerics = self._numerics(first, last)
        self._beats = [beat for beat in self._beats if beat.time_s > slow_s[-1] - 3.0]
        return Block(first, last, tuple(part.astype(np.float32) for part in samples), numerics)

    # ---- the script -----------------------------------------------------------------------

    def _begin(self, frame: int) -> None:
        self._random = np.random.default_rng((self._seed, frame))
        start_s = frame / FRAME_RATE_HZ
        patient = self._scenario.patient
        self._beats: list[_Beat] = []
        self._last_beat_s = start_s - 1.0
        self._perfusion = 1.0
        self._systolic, self._diastolic = patient.systolic_mmhg, patient.diastolic_mmhg
        self._spo2 = patient.spo2_percent
        self._vf_phases = self._random.uniform(0, 2 * math.pi, 3)
        self._drift = np.zeros(2)

    def _rhythm(self, time_s: float) -> Crisis | None:
        active = self._scenario.active(time_s)
        begun = [(active[rhythm], rhythm) for rhythm in RHYTHMS if rhythm in active]
        return max(begun)[1] if begun else None

    def _during(self, crisis: Crisis, time_s: Array) -> NDArray[np.bool_]:
        grid = np.unique(np.floor(time_s / GRID_S))
        active = np.array([crisis in self._scenario.active(float(g) * GRID_S) for g in grid])
        return active[np.searchsorted(grid, np.floor(time_s / GRID_S))]

    # ---- the heart ------------------------------------------------------------------------

    def _extend_beats(self, until_s: float) -> None:
        while self._last_beat_s < until_s:
            rhythm = self._rhythm(self._last_beat_s)
            if rhythm in _PULSELESS:
                self._last_beat_s += GRID_S
                continue
            rr_s = self._next_rr_s(rhythm, self._last_beat_s)
            at_s = self._last_beat_s + rr_s
            self._last_beat_s = at_s
            if self._rhythm(at_s) in _PULSELESS:
                continue
            self._beats.append(_Beat(at_s, rr_s, self._rhythm(at_s), self._stroke(rhythm, rr_s)))

    def _next_rr_s(self, rhythm: Crisis | None, time_s: float) -> float:
        patient = self._scenario.patient
        rate = (
            _ALONE.get(rhythm, patient.heart_rate_per_min) if rhythm else patient.heart_rate_per_min
        )
        mean_s = 60.0 / rate
        if rhythm is Crisis.ATRIAL_FIBRILLATION:
            return max(0.3, mean_s * float(self._random.normal(1.0, 0.22)))
        if rhythm is Crisis.VENTRICULAR_TACHYCARDIA:
            return mean_s * float(self._random.normal(1.0, 0.01))
        # Respiratory sinus arrhythmia, the 0.1 Hz rhythm of the pressure reflex, and a little more.
        breath = math.sin(2 * math.pi * patient.respiration_rate_per_min / 60 * time_s)
        slow = math.sin(2 * math.pi * 0.1 * time_s)
        return mean_s * (1 + 0.03 * breath + 0.02 * slow + float(self._random.normal(0, 0.008)))

    @staticmethod
    def _stroke(rhythm: Crisis | None, rr_s: float) -> float:
        # Filling takes time: a beat that comes early ejects less.
        filling = min(1.15, 0.35 + 0.8 * min(rr_s, 1.2) / 0.8)
        return filling * (0.35 if rhythm is Crisis.VENTRICULAR_TACHYCARDIA else 0.9)

    # ---- curves ---------------------------------------------------------------------------

    def _breathing(self, time_s: Array) -> Array:
        rate_hz = self._scenario.patient.respiration_rate_per_min / 60
        phase = 2 * math.pi * rate_hz * time_s
        return np.sin(phase + 0.35 * np.sin(phase) + 0.3 * np.sin(2 * math.pi * 0.013 * time_s))

    def _ecg(self, time_s: Array, breath: Array) -> Array:
        ecg = np.zeros((2, time_s.size))
        for beat in self._beats:
            for centre_s, width_s, in_ii, in_v in _waves(beat):
                bell = _bell(time_s, beat.time_s + centre_s, width_s)
                ecg[0] += in_ii * bell
                ecg[1] += in_v * bell
        ecg *= 1 + 0.06 * breath
        ecg += self._fibrillation(time_s)
        if self._during(Crisis.ATRIAL_FIBRILLATION, time_s).any():
            waves = 0.05 * np.sin(2 * math.pi * 6.1 * time_s + np.sin(2 * math.pi * 0.7 * time_s))
            ecg += waves * self._during(Crisis.ATRIAL_FIBRILLATION, time_s)
        ecg += 0.05 * breath + self._random.normal(0, 0.008, ecg.shape)
        return ecg

    def _fibrillation(self, time_s: Array) -> Array:
        during = self._during(Crisis.VENTRICULAR_FIBRILLATION, time_s)
        if not during.any():
            return np.zeros((2, time_s.size))
        step_s = time_s[1] - time_s[0]
        wave = np.zeros(time_s.size)
        second = np.zeros(time_s.size)
        for i, (rate_hz, size_mv) in enumerate(((5.1, 0.34), (4.1, 0.22), (6.9, 0.12))):
            wander = np.cumsum(self._random.normal(0, 1.0, time_s.size)) * math.sqrt(step_s)
            wander -= np.linspace(0, wander[-1], time_s.size)
            phase = self._vf_phases[i] + 2 * math.pi * rate_hz * (time_s - time_s[0]) + wander
            self._vf_phases[i] = float(phase[-1] + 2 * math.pi * rate_hz * step_s)
            swell = 1 + 0.4 * np.sin(2 * math.pi * (0.23 + 0.17 * i) * time_s + i)
            wave += size_mv * swell * np.sin(phase)
            second += size_mv * swell * np.sin(phase + 0.9 + i)
        return np.stack([wave, 0.8 * second]) * during

    def _pressure(self, time_s: Array, breath: Array) -> Array:
        patient = self._scenario.patient
        low = self._during(Crisis.HYPOTENSION, time_s)
        beating = ~(
            self._during(Crisis.VENTRICULAR_FIBRILLATION, time_s)
            | self._during(Crisis.ASYSTOLE, time_s)
        )
        systolic = _follow(self._systolic, np.where(low, 74.0, patient.systolic_mmhg), 6.0)
        diastolic = _follow(self._diastolic, np.where(low, 41.0, patient.diastolic_mmhg), 6.0)
        perfusion = _follow(self._perfusion, beating.astype(float), 3.0)
        self._systolic, self._diastolic = float(systolic[-1]), float(diastolic[-1])
        self._perfusion = float(perfusion[-1])
        pulse = np.zeros(time_s.size)
        for beat in self._beats:
            since_s = time_s - beat.time_s - 0.16
            upstroke = _bell(since_s, 0.12, 0.055) + 0.62 * _bell(since_s, 0.24, 0.09)
            pulse += beat.stroke * (upstroke + 0.16 * _bell(since_s, 0.42, 0.05))
        # 14 mmHg is about where the pressure settles when the heart stands still.
        resting = 14.0 + (diastolic - 14.0) * perfusion
        return resting + (systolic - diastolic) * pulse * (1 + 0.05 * breath)

    def _pleth(self, time_s: Array, breath: Array) -> Array:
        pulse = np.zeros(time_s.size)
        for beat in self._beats:
            since_s = time_s - beat.time_s - 0.22
            pulse += beat.stroke * (_bell(since_s, 0.17, 0.08) + 0.35 * _bell(since_s, 0.42, 0.10))
        noise = self._random.normal(0, 0.004, time_s.size)
        return 0.5 + 0.4 * pulse * (1 + 0.1 * breath) + 0.03 * breath + noise

    def _disturb(self, fast_s: Array, slow_s: Array, ecg: Array, pleth: Array) -> None:
        if not self._during(Crisis.MOTION, slow_s).any():
            return
        for lead in ecg:
            shake = _coloured(self._random, fast_s.size, 0.96)
            muscle = self._random.normal(0, 0.12, fast_s.size)
            lead += (0.9 * shake + muscle) * self._during(Crisis.MOTION, fast_s)
        pleth += (
            0.5 * _coloured(self._random, slow_s.size, 0.93) * self._during(Crisis.MOTION, slow_s)
        )

    def _silence(self, fast_s: Array, slow_s: Array, samples: list[Array]) -> None:
        samples[0][:, self._during(Crisis.LEAD_OFF, fast_s)] = np.nan
        samples[0][:, self._during(Crisis.NO_DATA, fast_s)] = np.nan
        for part in samples[1:]:
            part[:, self._during(Crisis.NO_DATA, slow_s)] = np.nan

    def _numerics(self, first: int, last: int) -> tuple[RecordedNumeric, ...]:
        found: list[RecordedNumeric] = []
        rate = int(FRAME_RATE_HZ)
        for frame in range(-(-first // rate) * rate, last, rate):
            time_s = frame / FRAME_RATE_HZ
            active = self._scenario.active(time_s)
            if Crisis.NO_DATA in active:
                continue
            target = 82.0 if Crisis.DESATURATION in active else self._scenario.patient.spo2_percent
            self._spo2 += (target - self._spo2) / 8.0
            pulseless = self._rhythm(time_s) in _PULSELESS
            spo2 = math.nan if pulseless else round(self._spo2 + float(self._random.normal(0, 0.2)))
            temperature = self._scenario.patient.temperature_celsius
            found.append(RecordedNumeric(frame, "MDC_PULS_OXIM_SAT_O2", spo2, Unit.PERCENT))
            found.append(RecordedNumeric(frame, "MDC_TEMP", temperature, Unit.CELSIUS))
        return tuple(found)


def _waves(beat: _Beat) -> tuple[tuple[float, float, float, float], ...]:
    if beat.rhythm is Crisis.VENTRICULAR_TACHYCARDIA:
        return _VENTRICULAR
    # The QT interval shortens with the square root of RR (Bazett).
    stretch = math.sqrt(min(1.4, max(0.3, beat.rr_s)))
    t_wave = (_T[0] * stretch, _T[1] * stretch, _T[2], _T[3])
    if beat.rhythm is Crisis.ATRIAL_FIBRILLATION:
        return (*_QRS, t_wave)
    return (_P, *_QRS, t_wave)


def _bell(time_s: Array, centre_s: float, width_s: float) -> Array:
    return np.exp(-0.5 * np.square((time_s - centre_s) / width_s))


def _follow(start: float, target: Array, tau_s: float) -> Array:
    """First-order lag of `target` at 125 Hz, beginning at `start`."""
    keep = math.exp(-1 / (FRAME_RATE_HZ * tau_s))
    followed = np.empty(target.size)
    value = start
    for i, goal in enumerate(target):
        value = goal + (value - goal) * keep
        followed[i] = value
    return followed


def _coloured(random: np.random.Generator, n: int, keep: float) -> Array:
    noise = random.normal(0, math.sqrt(1 - keep * keep), n)
    for i in range(1, n):
        noise[i] += keep * noise[i - 1]
    return noise
