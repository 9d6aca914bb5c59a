"""What staff said of alerts, as recordings: the strips that left the bed, with a label each.

Read from the store's tables `verdict`, `alert` and `alert_strip`; the last verdict on an alert
counts, and one that says ``unsure`` says nothing.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import psycopg

from models.datasets.labels import LabelledSpan, everything_but
from models.datasets.recording import EcgSignal, Recording
from wardstream.contracts.alert import Condition
from wardstream.contracts.codec import decode
from wardstream.contracts.codes import Modality, code_by_mdc
from wardstream.contracts.errors import ContractError, TransientError
from wardstream.contracts.storage import Table
from wardstream.contracts.timebase import NS_PER_S
from wardstream.contracts.waveform import AlertStrip, WaveformChunk
from wardstream.kernels.windows import WINDOW_S

# What an alert claims of the rhythm. A condition that is not here is about rate or equipment:
# a verdict on it says nothing about the rhythm.
CLASSES_OF_CONDITION: Final[dict[Condition, tuple[str, ...]]] = {
    Condition.ASYSTOLE: ("asystole",),
    Condition.VENTRICULAR_FIBRILLATION: ("vf",),
    Condition.VENTRICULAR_TACHYCARDIA: ("vt",),
    Condition.ATRIAL_FIBRILLATION: ("af",),
}

_TREATED_ALIKE: Final = ("vt", "vf")

WEIGHT: Final = 0.5
"""A verdict is on the alert, not on each window of its strip."""

DATASET: Final = "verdicts"

_QUERY: Final = f"""
SELECT DISTINCT ON (v.alert_id)
       v.alert_id::text, v.verdict, a.condition, a.device_id, a.onset_time_ns, s.payload
FROM {Table.VERDICT} v
JOIN {Table.ALERT} a USING (alert_id)
JOIN {Table.ALERT_STRIP} s USING (alert_id)
WHERE v.verdict <> 'unsure'
  AND v.given_time_ns = (SELECT max(w.given_time_ns) FROM {Table.VERDICT} w
                         WHERE w.alert_id = v.alert_id)
ORDER BY v.alert_id, s.event_id
"""  # noqa: S608 - table names are constants


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAlert:
    """One alert with its strip and what staff said.

    Attributes
    ----------
    alert_id, device_id : str
        Which alert of which bed's device.
    condition : Condition
        What it claimed.
    is_true : bool
        What staff said.
    onset_time_ns : int
        When the condition began, on the clock of the strip.
    strip : bytes
        An `AlertStrip` in wire form.
    """

    alert_id: str
    device_id: str
    condition: Condition
    is_true: bool
    onset_time_ns: int
    strip: bytes


def load_verdicts(database_url: str) -> list[JudgedAlert]:
    """Every alert of the store that has a strip and a verdict.

    Raises
    ------
    TransientError
        The database cannot be asked.
    """
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            rows = connection.execute(_QUERY.encode()).fetchall()
    except psycopg.Error as error:
        raise TransientError(f"verdicts cannot be read: {error}") from error
    return [
        JudgedAlert(
            alert_id=alert_id,
            device_id=device_id,
            condition=Condition(condition),
            is_true=verdict == "true",
            onset_time_ns=int(onset_time_ns),
            strip=bytes(payload),
        )
        for alert_id, verdict, condition, device_id, onset_time_ns, payload in rows
    ]


def verdict_recordings(judged: list[JudgedAlert]) -> list[Recording]:
    """A recording for each judged alert that says something of the rhythm and has an ECG.

    The device stands for the patient: who lay in the bed is not known here.
    """
    found: list[Recording] = []
    for alert in judged:
        chunk = _ecg_chunk(alert)
        if chunk is None or alert.condition not in CLASSES_OF_CONDITION:
            continue
        found.append(
            Recording(
                dataset=DATASET,
                record=alert.alert_id,
                patient_id=f"{DATASET}/{alert.device_id}",
                spans=(verdict_span(alert, chunk),),
                read=partial(_signal, chunk),
            )
        )
    return found


def verdict_span(alert: JudgedAlert, chunk: WaveformChunk) -> LabelledSpan:
    """What the verdict says, and of which part of the strip.

    A true alert is true from its onset on. A false one was false all along the strip.
    """
    length_s = chunk.samples.shape[1] / chunk.sampling_rate_hz
    onset_s = (alert.onset_time_ns - chunk.start_time_ns) / NS_PER_S
    classes = CLASSES_OF_CONDITION[alert.condition]
    if alert.is_true:
        start_s = float(np.clip(onset_s, 0.0, max(length_s - WINDOW_S, 0.0)))
        return LabelledSpan(
            start_s=start_s,
            end_s=min(start_s + 2 * WINDOW_S, length_s),
            rhythm=f"true_{alert.condition}",
            admissible=classes,
            weight=WEIGHT,
            opens=False,
            closes=False,
        )
    denied = _TREATED_ALIKE if set(classes) & set(_TREATED_ALIKE) else classes
    return LabelledSpan(
        start_s=0.0,
        end_s=length_s,
        rhythm=f"false_{alert.condition}",
        admissible=everything_but(*denied),
        weight=WEIGHT,
        opens=False,
        closes=False,
    )


def _ecg_chunk(alert: JudgedAlert) -> WaveformChunk | None:
    try:
        strip: Any = decode(alert.strip, AlertStrip)
    except ContractError:
        # The intake refused what it could not decode; what is older than the codec is skipped.
        return None
    for chunk in strip.chunks:
        leads = [
            i for i, code in enumerate(chunk.codes) if code_by_mdc(code).modality is Modality.ECG
        ]
        long_enough = chunk.samples.shape[1] >= WINDOW_S * chunk.sampling_rate_hz
        if leads and long_enough:
            return WaveformChunk(
                device_id=chunk.device_id,
                boot_id=chunk.boot_id,
                sequence_number=chunk.sequence_number,
                codes=tuple(chunk.codes[i] for i in leads),
                unit=chunk.unit,
                sampling_rate_hz=chunk.sampling_rate_hz,
                start_time_ns=chunk.start_time_ns,
                samples=chunk.samples[leads],
            )
    return None


def _signal(chunk: WaveformChunk) -> EcgSignal:
    return EcgSignal(chunk.samples, chunk.sampling_rate_hz)
