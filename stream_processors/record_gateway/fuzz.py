"""Record messages as they should not be, thrown at the gateway; what became of each is counted.

A ward that knows the truth (`fuzz_ward`) sends HL7 through the framer, in pieces and between junk,
and FHIR as it is posted. More than half of the messages are damaged on purpose. Of every message it
is checked that it was answered, that whatever it stated was mapped or kept, and that nothing was
written to a patient whom it is not about. The ledger is in memory; everything else is the real
thing.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from stream_processors.core.harmonising import Harmonised, Mapped
from stream_processors.core.observation import Observation, PatientFacts
from stream_processors.core.ports import OutgoingRecord
from stream_processors.record_gateway.conventions import Conventions
from stream_processors.record_gateway.fhir_push import take_fhir
from stream_processors.record_gateway.fuzz_ward import (
    AUTHORITIES,
    LABORATORY,
    MEASURED,
    MRN_SYSTEM,
    START,
    FuzzWard,
    Measurement,
    Message,
)
from stream_processors.record_gateway.gateway import Gateway
from stream_processors.record_gateway.memory_ledger import MemoryLedger
from wardstream.contracts.mllp import END, MllpFramer
from wardstream.contracts.mllp import START as VT
from wardstream.contracts.timebase import from_datetime

Harmonise = Callable[[Observation, PatientFacts], Harmonised]

NOTHING_WRITTEN: Final = frozenset({"swapped_patient", "wrong_encoding"})
"""Damage after which not one observation may be mapped."""


@dataclass(slots=True)
class FuzzCounts:
    """What was thrown, and what became of it.

    Attributes
    ----------
    messages, by_damage : int, dict
        Sent.
    answers : dict
        By MSA-1.
    stated, mapped, quarantined : int
        Observations read, and where they went; `kept_parts` and `kept_messages` were not even
        read as observations, and are kept with their reason.
    wrong_patient : int
        Observations or movements written to a patient whom their message is not about.
    unit_errors, unit_errors_caught : int
        Values stated in a unit that is not theirs, and those that were not mapped.
    unaccounted : int
        Messages without answer, and statements of undamaged messages neither mapped nor kept.
    leaked : int
        Records that hold a name or number of a patient.
    crashes : int
        Exceptions that are no answer, and defects the gateway itself reported.
    """

    messages: int = 0
    by_damage: Counter[str] = field(default_factory=Counter[str])
    answers: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    stated: int = 0
    mapped: int = 0
    quarantined: int = 0
    kept_parts: int = 0
    kept_messages: int = 0
    wrong_patient: int = 0
    unit_errors: int = 0
    unit_errors_caught: int = 0
    undamaged_not_mapped: int = 0
    unaccounted: int = 0
    leaked: int = 0
    crashes: int = 0
    examples: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        """Whether all went as it should."""
        bad = (self.wrong_patient, self.unaccounted, self.leaked, self.crashes)
        balanced = self.stated == self.mapped + self.quarantined
        return balanced and not any(bad) and self.unit_errors == self.unit_errors_caught

    def report(self) -> dict[str, Any]:
        """For JSON."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        told = {k: dict(v) if isinstance(v, Counter) else v for k, v in found.items()}
        return {**told, "is_clean": self.is_clean}


class _Heard:
    """Kafka's place."""

    def __init__(self) -> None:
        self.records: list[OutgoingRecord] = []

    async def send_all(self, records: Sequence[OutgoingRecord]) -> None:
        self.records += records


class FuzzCampaign:
    """Throws messages and checks each.

    Parameters
    ----------
    seed : int
        The same seed throws the same.
    harmonise : callable
        Maps or holds back an observation.
    """

    def __init__(self, seed: int, harmonise: Harmonise) -> None:
        self.counts = FuzzCounts()
        self._draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._ward = FuzzWard(self._draw)
        self._harmonise = harmonise
        self._heard = _Heard()
        self._ledger = MemoryLedger()
        conventions = Conventions(
            site_secret=b"fuzz-fuzz-fuzz-fuzz",
            bed_template="{point_of_care}-{room}-{bed}",
            authorities=AUTHORITIES,
        )
        self._numbers = {
            conventions.pseudonym(MRN_SYSTEM, f"MRN{p:05}"): p for p in range(self._ward.n_patients)
        }
        self._gateway = Gateway(
            self._ledger,
            self._heard,
            conventions,
            clock_ns=lambda: from_datetime(self._ward.now) + 10**9,
            n_partitions=4,
        )
        self._framer = MllpFramer()
        self._damages: tuple[tuple[float, str, Callable[[Message], Message]], ...] = (
            (0.42, "none", lambda message: message),
            (0.12, "truncated", self._truncated),
            (0.10, "wrong_encoding", self._wrong_encoding),
            (0.12, "wrong_unit", self._wrong_unit),
            (0.10, "swapped_patient", self._swapped),
            (0.08, "unknown_code", self._unknown_code),
            (0.04, "noise", self._noise),
            (0.02, "sent_twice", lambda message: message),
        )

    @property
    def ward_hours(self) -> float:
        """How long the ward went on."""
        return round((self._ward.now - START).total_seconds() / 3600, 1)

    async def run(self, n_messages: int, *, give_way_every: int = 100) -> FuzzCounts:
        """Throw `n_messages`."""
        weights = [weight for weight, _, _ in self._damages]
        for number in range(n_messages):
            ((_, damage, spoil),) = self._draw.choices(self._damages, weights)
            message = self._ward.next_message()
            if message.kind == "adt" and damage not in ("none", "sent_twice"):
                # What the ward did would be lost with it: said whole as well, before or after.
                before = damage in ("swapped_patient", "wrong_unit", "unknown_code")
                whole = (message, "none")
                spoilt = (spoil(message), damage)
                for thrown in (whole, spoilt) if before else (spoilt, whole):
                    await self._throw(*thrown)
            else:
                await self._throw(spoil(message), damage)
                if damage == "sent_twice":
                    await self._throw(message, damage, repeat=True)
            if number % give_way_every == 0:
                await asyncio.sleep(0)
        return self.counts

    async def _throw(self, message: Message, damage: str, *, repeat: bool = False) -> None:
        counts = self.counts
        counts.messages += 1
        counts.by_damage[damage] += 1
        self._heard.records.clear()
        try:
            answers = await self._answers(message)
        except Exception as error:  # noqa: BLE001 - it is what this looks for
            counts.crashes += 1
            self._example(f"{damage} {message.kind}: {error!r}")
            return
        if not answers:
            counts.unaccounted += 1
            self._example(f"{damage} {message.kind}: no answer")
        counts.answers.update(answers)
        if repeat:
            if self._heard.records:
                counts.unaccounted += 1
                self._example(f"{message.kind}: applied twice")
            return
        self._check(message, damage, answers)

    async def _answers(self, message: Message) -> list[str]:
        if message.kind in ("observation", "bundle"):
            return [(await take_fhir(self._gateway, message.payload, "fuzz")).code]
        junk = self._draw.choice((b"", b"", b"\r\n", b"junk", b"\x1c\r", VT + b"half a frame"))
        stream = junk + VT + message.payload + END
        cut = self._draw.randrange(len(stream))
        answers: list[str] = []
        for piece in (stream[:cut], stream[cut:]):
            for frame in self._framer.feed(piece)[0]:
                answer = await self._gateway.take_hl7(frame)
                if answer is not None:
                    answers.append(answer.partition(b"\rMSA|")[2][:2].decode())
        return answers

    def _check(self, message: Message, damage: str, answers: list[str]) -> None:
        counts, changes = self.counts, self._ledger.changes
        if self._gateway.counts.defects > counts.crashes:
            counts.crashes = self._gateway.counts.defects
            self._example(f"{damage} {message.kind}: defect {message.payload!r}")
        if not self._heard.records:
            if damage == "none" and message.n_statements:
                counts.unaccounted += 1
                self._example(f"{message.kind}: nothing said of {message.payload!r}")
            return
        results = [self._harmonise(seen, facts) for seen, facts in changes.observations]
        n_mapped = sum(isinstance(result, Mapped) for result in results)
        counts.stated += len(results)
        counts.mapped += n_mapped
        counts.quarantined += len(results) - n_mapped
        counts.kept_parts += len(changes.refusals)
        counts.kept_messages += answers != ["AA"] and not changes.refusals
        counts.reasons.update(refusal.reason_code for refusal in changes.refusals)
        counts.reasons.update(
            result.reason.value for result in results if not isinstance(result, Mapped)
        )
        written = [seen.pseudonym for seen, _ in changes.observations]
        written += [movement.pseudonym for movement in changes.movements]
        for pseudonym in written:
            if self._numbers.get(pseudonym, min(message.patients)) not in message.patients:
                counts.wrong_patient += 1
                self._example(f"{damage} {message.kind}: wrong patient by {message.payload!r}")
        self._check_damage(message, damage, results, len(changes.refusals))
        said = b"".join(record.value for record in self._heard.records)
        if re.search(rb"MRN\d{5}|V\d{5}|\xe5\xb0\x8f\xe6\x98\x8e|Schr|Doe\^|Neil", said):
            counts.leaked += 1
            self._example(f"{damage} {message.kind}: an identifier in {said[:400]!r}")

    def _check_damage(
        self, message: Message, damage: str, results: Sequence[Harmonised], n_refused: int
    ) -> None:
        counts = self.counts
        n_mapped = sum(isinstance(result, Mapped) for result in results)
        if damage in ("none", "sent_twice"):
            if len(results) + n_refused != message.n_statements:
                counts.unaccounted += 1
                self._example(f"{message.kind}: {message.n_statements} stated, {len(results)} read")
            if message.kind != "alarm" and n_mapped < message.n_statements:
                counts.undamaged_not_mapped += message.n_statements - n_mapped
                self._example(f"{message.kind} not mapped: {results!r:.400}")
        elif damage in NOTHING_WRITTEN and results:
            counts.wrong_patient += damage == "swapped_patient"
            counts.unaccounted += damage != "swapped_patient"
            self._example(f"{damage} {message.kind}: written {results!r:.400}")
        elif damage == "wrong_unit":
            counts.unit_errors += message.n_statements
            counts.unit_errors_caught += message.n_statements - n_mapped
            for result in results:
                if isinstance(result, Mapped):
                    self._example(f"unit not caught: {result.observation!r:.400}")
        elif damage == "unknown_code" and n_mapped:
            counts.unaccounted += 1
            self._example(f"unknown code mapped: {results!r:.400}")

    def _example(self, text: str) -> None:
        if len(self.counts.examples) < 12:
            self.counts.examples.append(text)

    # ---- damage ---------------------------------------------------------------------------

    def _truncated(self, message: Message) -> Message:
        end = self._draw.randrange(1, len(message.payload))
        return replace(message, payload=message.payload[:end])

    def _wrong_encoding(self, message: Message) -> Message:
        text = message.payload.decode()
        if message.kind in ("observation", "bundle"):
            text = text.replace('"id":', '"language": "患者体温偏高", "id":', 1)
            return replace(message, payload=text.encode("gb18030"))
        text = re.sub(r"\|\|[^|]*\|\|(?=\d{8}\|[MF])", "||王^小明||", text)
        if self._draw.random() < 0.5:
            return replace(message, payload=text.encode("gb18030"))
        stated = text.replace("UNICODE UTF-8", self._draw.choice(("GB 18030-2000", "ASCII")), 1)
        return replace(message, payload=stated.encode())

    def _wrong_unit(self, message: Message) -> Message:
        patient = min(message.patients)
        if patient not in self._ward.in_bed.values():
            patient = self._ward.someone()
        if message.kind in ("observation", "bundle"):
            loinc, _, (low, high), wrong = self._draw.choice(LABORATORY)
            value = round(self._draw.uniform(low, high), 2)
            measured = Measurement("", "", loinc, value, self._draw.choice(wrong))
            return self._ward.observation(patient, measured)
        mdc, name, loinc, _, (low, high), wrong = self._draw.choice(MEASURED)
        value = round(self._draw.uniform(low, high), 1)
        measured = Measurement(mdc, name, loinc, value, self._draw.choice(wrong))
        return self._ward.results(patient, [measured])

    def _swapped(self, message: Message) -> Message:
        ward = self._ward
        one, other = self._draw.sample(sorted(set(ward.in_bed.values())), 2)
        if message.kind in ("observation", "bundle"):
            return ward.observation(one, visit=other)
        if self._draw.random() < 0.5:
            return ward.results(one, place=ward.bed_of(other))
        return ward.results(one, place="", described=other)

    def _unknown_code(self, message: Message) -> Message:
        patient = self._ward.someone()
        unknown = f"{self._draw.randint(10, 99)}-X"
        if message.kind in ("observation", "bundle"):
            return self._ward.observation(patient, Measurement("", "", unknown, 1.0, "mg/dL"))
        measured = Measurement(unknown, "LOCAL_体征", unknown, 1.0, "/min")
        return self._ward.results(patient, [measured])

    def _noise(self, message: Message) -> Message:
        payload = bytearray(message.payload)
        for _ in range(self._draw.randint(1, 8)):
            position = self._draw.randrange(len(payload))
            payload[position : position + self._draw.randint(0, 2)] = bytes(
                self._draw.choice((0, 1, 11, 28, 127, 128, 200, 254, 255, 65, 124, 13))
                for _ in range(self._draw.randint(1, 3))
            )
        return replace(message, payload=bytes(payload).replace(END, b"").replace(VT, b""))


def run_fuzz(n_messages: int, seed: int, harmonise: Harmonise) -> dict[str, Any]:
    """Throw `n_messages`; the report, with messages a second."""
    campaign = FuzzCampaign(seed, harmonise)
    began = time.perf_counter()
    counts = asyncio.run(campaign.run(n_messages))
    seconds = time.perf_counter() - began
    return {
        "messages_asked": n_messages,
        "seed": seed,
        **counts.report(),
        "seconds": round(seconds, 1),
        "messages_per_s": round(counts.messages / seconds),
        "ward_hours": campaign.ward_hours,
    }
