"""Sparing questions changes nothing that is told: compared with asking about every hop."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from fakes.bedside import (
    LEAD_II,
    LEAD_V,
    PLETH,
    START_NS,
    chunks,
    ecg,
    fibrillation,
    later,
    merged,
    pulse,
    regular,
)
from fakes.rhythm_runtime import FakeRhythmRuntime

from edge_agent.core.sparing import RhythmWatch
from wardstream.contracts.alert import AlertEvent, Condition
from wardstream.contracts.errors import TransientError
from wardstream.contracts.frame import FeatureFrame
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.units import Unit
from wardstream.contracts.waveform import WaveformChunk

SECONDS = 50
BEATS = regular(75, 0.3, SECONDS)


def _told(bed) -> list[object]:
    # Ids are made of what was found and when, so all of an event is compared.
    return [
        (output.start_time_ns, output.values.tobytes())
        if isinstance(output, FeatureFrame)
        else output
        for output in bed.outputs
        if isinstance(output, FeatureFrame | AlertEvent)
    ]


def _curves(packet_s: float = 0.04) -> list[WaveformChunk]:
    lead = ecg(BEATS, SECONDS)
    return merged(
        chunks({LEAD_II: lead, LEAD_V: 0.7 * lead}, packet_s=packet_s),
        chunks(
            {PLETH: pulse(BEATS, SECONDS)}, unit=Unit.ARBITRARY, rate_hz=125.0, packet_s=packet_s
        ),
    )


def _capricious(seed: int, share: float) -> Callable[[np.ndarray], str]:
    # An opinion that depends on the window alone; hits come in runs, of the coarse past of it.
    def opinion(window: np.ndarray) -> str:
        coarse = np.sign(window[::250]).tobytes()
        drawn = np.random.default_rng([seed, zlib.crc32(coarse)]).random()
        fine = np.random.default_rng([seed, zlib.crc32(window.tobytes())]).random()
        if drawn < share and fine < 0.85:
            return "vf" if fine < 0.5 else "vt"
        return "asystole" if fine > 0.99 else "sinus_like"

    return opinion


def _without_spikes(window: np.ndarray) -> str:
    return "vf" if np.abs(window[-250:]).max() < 2.5 else "sinus_like"


def _both(make_bed, monkeypatch, sent, make_runtime) -> tuple[object, object]:
    spared = make_bed(make_runtime()).push(sent)
    with monkeypatch.context() as patch:
        patch.setattr(RhythmWatch, "_may_spare", lambda *_: False)
        asked = make_bed(make_runtime()).push(sent)
    return spared, asked


@pytest.mark.parametrize("share", [0.03, 0.3])
@pytest.mark.parametrize("seed", [1, 2])
def test_events_and_frames_are_those_of_asking_about_every_hop(
    make_bed, monkeypatch, seed: int, share: float
) -> None:
    sent = _curves()
    spared, asked = _both(
        make_bed, monkeypatch, sent, lambda: FakeRhythmRuntime(_capricious(seed, share))
    )
    assert _told(spared) == _told(asked) != []
    assert spared.pipeline.report == asked.pipeline.report


def test_an_arrest_out_of_the_calm_is_told_at_the_same_hop(make_bed, monkeypatch) -> None:
    lead = ecg(BEATS, SECONDS)
    for begin_s in (35.0, 35.4, 35.8):
        sick = lead.copy()
        begin = round(begin_s * 250)
        sick[begin:] = fibrillation(SECONDS)[: len(sick) - begin]

        sent = list(chunks({LEAD_II: sick}))
        spared, asked = _both(
            make_bed, monkeypatch, sent, lambda: FakeRhythmRuntime(_without_spikes)
        )
        assert spared.story(Condition.VENTRICULAR_FIBRILLATION) != []
        assert _told(spared) == _told(asked)


def test_in_calm_three_hops_of_eight_are_asked_about(make_bed) -> None:
    runtime = FakeRhythmRuntime()
    bed = make_bed(runtime).push(_curves())
    n_before, sent = runtime.n_windows, _curves()
    n_packets = round(SECONDS / 0.04)
    more = [
        later(chunk, SECONDS, sequence_number=chunk.sequence_number + n_packets) for chunk in sent
    ]
    bed.push(more)
    n_hops = 4 * SECONDS
    n_leads = 2  # this model is asked about each
    assert runtime.n_windows - n_before <= n_leads * (3 / 8 * n_hops + 12)
    assert runtime.n_windows - n_before >= n_leads * (3 / 8 * n_hops - 1)


def test_a_model_that_falls_silent_is_found_out_within_a_second(make_bed) -> None:
    class Mortal(FakeRhythmRuntime):
        dead = False

        def infer(self, windows):
            if self.dead:
                raise TransientError("gone")
            return super().infer(windows)

    runtime = Mortal()
    sent = _curves()
    for cut in (1500, 1513, 1526):
        runtime.dead = False
        bed = make_bed(runtime).push(sent[:cut])
        assert bed.pipeline.report.model_version != "none"
        runtime.dead = True
        died_ns = sent[cut].start_time_ns
        for chunk in sent[cut:]:
            bed.push([chunk])
            if bed.pipeline.report.model_version == "none":
                assert chunk.end_time_ns - died_ns <= 1.05 * NS_PER_S
                break
        else:
            pytest.fail("nobody noticed")


def test_a_step_of_the_clock_within_the_calm_moves_what_is_kept(make_bed, monkeypatch) -> None:
    lead = ecg(BEATS, SECONDS)
    lead[35 * 250 :] = fibrillation(SECONDS - 35)

    sent = list(chunks({LEAD_II: lead}))
    cut = round(34.5 / 0.04)
    stepped = [*sent[:cut], *(later(chunk, 40.0) for chunk in sent[cut:])]
    spared, asked = _both(
        make_bed, monkeypatch, stepped, lambda: FakeRhythmRuntime(_without_spikes)
    )
    assert spared.story(Condition.VENTRICULAR_FIBRILLATION) != []
    assert _told(spared) == _told(asked)
    assert all(event.event_time_ns >= START_NS for event in spared.told(AlertEvent))
