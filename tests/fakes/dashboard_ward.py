"""A ward in memory behind the real HTTP application: what the page is tested and drawn against.

Routes, headers, problem documents and the event stream are `cloud_api`'s own; only the store,
the passwords and the bed's answer are made up here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from cloud_api.core.errors import ConflictError, NotFoundError, NotSignedInError
from cloud_api.core.feed import FeedEntry
from cloud_api.core.orders import LimitsRequest, SilenceRequest, authority_of
from cloud_api.core.ports import PendingAcknowledgement, SignedIn
from cloud_api.core.staff import Permission, Principal, Role
from cloud_api.core.views import (
    AcknowledgementView,
    AlertDetailView,
    AlertView,
    BedNumericsView,
    BedView,
    DeadLetterView,
    DeviceView,
    FrameView,
    ModelCommandView,
    ModelVersionView,
    TermsView,
    TrendSeries,
    TrendView,
    Verdict,
    VerdictView,
    condition_label,
)
from cloud_api.services.fanout import FanOut, LinkHealth
from cloud_api.services.metrics import ApiMetrics
from wardstream.contracts.alert import AcknowledgeCommand
from wardstream.contracts.codec import encode
from wardstream.contracts.device import ModelAction
from wardstream.contracts.timebase import TimestampNs
from wardstream.contracts.waveform import AlertStrip

PASSWORDS = {
    "physician": "physician-password",
    "nurse": "nurse-password",
    "admin": "admin-password",
}
ROLES = {
    "nurse": frozenset({Role.NURSE}),
    "physician": frozenset({Role.PHYSICIAN}),
    "admin": frozenset({Role.ADMIN, Role.ML_OPS, Role.BIOMED}),
}
NS_PER_S = 1_000_000_000


class MemoryJournal:
    """`JournalStore` over a list."""

    def __init__(self) -> None:
        self.entries: list[FeedEntry] = []

    async def newest_position(self) -> int:
        return self.entries[-1].position if self.entries else 0

    async def read(self, after: int, limit: int, *, up_to: int | None = None) -> list[FeedEntry]:
        found = [entry for entry in self.entries if entry.position > after]
        return [entry for entry in found if up_to is None or entry.position <= up_to][:limit]


class MemoryWard:
    """Beds, alerts and people; implements `ReadStore`, `AlertDesk`, `SignInDesk`, `Feed`."""

    def __init__(self) -> None:
        self.beds_by_id: dict[str, BedView] = {}
        self.alerts_by_id: dict[str, AlertView] = {}
        self.events: dict[str, list[AlertView]] = {}
        self.strips: dict[str, AlertStrip] = {}
        self.acknowledgements: dict[str, list[AcknowledgementView]] = {}
        self.verdicts: dict[str, list[VerdictView]] = {}
        self.frames_by_bed: dict[str, list[FrameView]] = {}
        self.letters: list[DeadLetterView] = []
        self.device_rows: list[DeviceView] = []
        self.versions_offered: list[ModelVersionView] = []
        self.commands: list[ModelCommandView] = []
        self.resumed_from: list[int | None] = []
        self.broker_is_up = True
        self.mute = False
        self.refuses_orders = False
        self.silence_requests: list[SilenceRequest] = []
        self.renewals: list[tuple[float, str, str]] = []
        self.calls_shown: list[tuple[str, str, int]] = []
        self.out_of_order = False
        self._sessions: dict[str, Principal] = {}
        self._journal = MemoryJournal()
        self._cut = asyncio.Event()
        self.fan_out = FanOut(
            self._journal,
            self._journal,
            clock=time.time_ns,
            health=lambda: LinkHealth(broker=self.broker_is_up, store=True),
            metrics=ApiMetrics(),
        )

    # what happens on the ward

    def put_alert(self, alert: AlertView) -> AlertView:
        """Store `alert` as its own newest event and tell every page."""
        position = (self._journal.entries[-1].position if self._journal.entries else 0) + 1
        stored = replace(alert, event_id=position, stored_time_ns=time.time_ns())
        self.alerts_by_id[stored.alert_id] = stored
        self.events.setdefault(stored.alert_id, []).append(stored)
        self._journal.entries.append(FeedEntry(position, "alert", msgspec.json.encode(stored)))
        self.fan_out.ring()
        return stored

    def put_strip(self, strip: AlertStrip) -> None:
        """Store the curves around an alert and tell every page."""
        self.strips[strip.alert_id] = strip
        alert = self.alerts_by_id[strip.alert_id]
        self.alerts_by_id[strip.alert_id] = replace(alert, has_strip=True)
        position = self._journal.entries[-1].position + 1
        data = msgspec.json.encode({"alert_id": strip.alert_id})
        self._journal.entries.append(FeedEntry(position, "strip", data))
        self.fan_out.ring()

    def put_numerics(self, seconds: dict[str, dict[str, float | None]]) -> None:
        """A second that has just ended, of each bed in `seconds`."""
        news: list[BedNumericsView] = []
        time_ns = time.time_ns() - NS_PER_S
        for bed_id, values in seconds.items():
            bed = self.beds_by_id[bed_id]
            numerics = replace(bed.numerics, time_ns=time_ns, age_s=0.0, values=values)
            self.beds_by_id[bed_id] = replace(bed, numerics=numerics)
            news.append(BedNumericsView(bed_id=bed_id, time_ns=time_ns, values=values))
        self.fan_out.tell_numerics(msgspec.json.encode(news))

    def confirm(self, alert_id: str) -> AlertView:
        """The bed has heard the acknowledgement."""
        alert = self.alerts_by_id[alert_id]
        return self.put_alert(
            replace(
                alert,
                presence="off" if alert.presence == "latch" else "ack",
                transition="acknowledged",
                acknowledgement_state="confirmed",
                decided_time_ns=time.time_ns(),
                event_time_ns=time.time_ns(),
            )
        )

    def cut_streams(self) -> None:
        """End every open event stream, as a dying replica does."""
        self._cut.set()
        self._cut = asyncio.Event()

    # Feed

    @asynccontextmanager
    async def follow(self, last_event_id: int | None) -> AsyncGenerator[AsyncIterator[bytes]]:
        self.resumed_from.append(last_event_id)
        cut = self._cut
        async with self.fan_out.follow(last_event_id) as events:
            yield _until(events, cut, self)

    # SignInDesk

    async def sign_in(self, username: str, password: str, client: str) -> SignedIn:
        if PASSWORDS.get(username) != password:
            raise NotSignedInError("user name or password is wrong")
        token = uuid4().hex
        principal = Principal(
            username=username,
            roles=ROLES[username],
            session_id=str(uuid4()),
            expires_time_ns=time.time_ns() + 8 * 3600 * NS_PER_S,
        )
        self._sessions[token] = principal
        return SignedIn(principal=principal, access_token=token)

    async def authenticate(self, token: str) -> Principal:
        if token not in self._sessions:
            raise NotSignedInError("sign in first")
        return self._sessions[token]

    async def sign_out(self, principal: Principal) -> None:
        self._sessions = {
            token: one
            for token, one in self._sessions.items()
            if one.session_id != principal.session_id
        }

    def end_all_sessions(self) -> None:
        """As if every shift were over."""
        self._sessions.clear()
        self.cut_streams()

    # AlertDesk

    async def acknowledge(
        self,
        principal: Principal,
        alert_id: str,
        reason: str | None,
        *,
        seen_revision: int | None = None,
    ) -> PendingAcknowledgement:
        principal.require(Permission.ACKNOWLEDGE)
        alert = self._alert(alert_id)
        if alert.presence == "off":
            raise ConflictError("the alert is over")
        now_ns = time.time_ns()
        command = AcknowledgeCommand(
            command_id=str(uuid4()),
            device_id=alert.device_id,
            alert_id=alert_id,
            author=principal.username,
            issued_time_ns=TimestampNs(now_ns),
            expires_time_ns=TimestampNs(now_ns + 300 * NS_PER_S),
            reason=reason,
        )
        self.acknowledgements.setdefault(alert_id, []).append(
            AcknowledgementView(
                command_id=command.command_id,
                author=principal.username,
                reason=reason,
                issued_time_ns=now_ns,
                expires_time_ns=command.expires_time_ns,
                state="sent",
                confirmed_time_ns=None,
            )
        )
        self.put_alert(
            replace(alert, acknowledgement_state="sent", acknowledged_by=principal.username)
        )
        return PendingAcknowledgement(site_id="demo", command=command)

    async def judge(
        self, principal: Principal, alert_id: str, verdict: Verdict, comment: str | None
    ) -> VerdictView:
        principal.require(Permission.JUDGE)
        self._alert(alert_id)
        view = VerdictView(
            verdict_id=str(uuid4()),
            verdict=verdict,
            comment=comment,
            author=principal.username,
            given_time_ns=time.time_ns(),
        )
        self.verdicts.setdefault(alert_id, []).append(view)
        return view

    async def command_model(
        self,
        principal: Principal,
        *,
        site_id: str,
        device_id: str | None,
        action: ModelAction,
        version: int,
    ) -> ModelCommandView:
        principal.require(Permission.COMMAND_MODELS)
        view = ModelCommandView(
            command_id=str(uuid4()),
            site_id=site_id,
            device_id=device_id,
            action=action,
            version=version,
            author=principal.username,
            issued_time_ns=time.time_ns(),
            published_time_ns=time.time_ns(),
        )
        self.commands.insert(0, view)
        return view

    # OrderDesk, as a bed that obeys at once and notices lapses

    async def silence(self, principal: Principal, request: SilenceRequest) -> str:
        authority_of(principal, request.kind)
        if self.refuses_orders:
            raise ConflictError("this server signs no orders")
        bed = next(b for b in self.beds_by_id.values() if b.device_id == request.device_id)
        self.silence_requests.append(request)
        now_ns = time.time_ns()
        silence = AlertView(
            alert_id=str(uuid4()),
            device_id=bed.device_id,
            bed_id=bed.bed_id,
            unit_id=bed.unit_id,
            condition=request.kind.value,
            label=condition_label(request.kind.value),
            kind="technical",
            priority="low",
            presence="on",
            transition="onset",
            onset_time_ns=now_ns,
            event_time_ns=now_ns,
            decided_time_ns=now_ns,
            stored_time_ns=now_ns,
            model_version="none",
            generation_mode=bed.generation_mode,
            evidence={},
            acknowledged_by=None,
            acknowledgement_expires_ns=None,
            acknowledgement_state="none",
            has_strip=False,
            sequence_number=0,
            event_id=0,
            revision=1,
            audible="off",
            actor=principal.username,
            reason=request.reason,
            terms=TermsView(
                author=principal.username,
                station_id=request.station_id,
                scope=None if request.scope is None else request.scope.value,
                expires_time_ns=now_ns + round(request.lasts_s * NS_PER_S),
                held=True,
            ),
        )
        return self.put_alert(silence).alert_id

    async def end_silence(self, principal: Principal, silence_id: str, station_id: str) -> None:
        self.put_alert(
            replace(self._alert(silence_id), presence="off", transition="ended", actor="nurse")
        )

    async def renew(self, principal: Principal, station_id: str) -> list[str]:
        self.renewals.append((time.monotonic(), principal.username, station_id))
        return []

    async def set_limits(self, principal: Principal, request: LimitsRequest) -> str:
        principal.require(Permission.SET_LIMITS)
        return str(uuid4())

    # EscalationDesk

    async def shown(self, principal: Principal, alert_id: str, level: int) -> bool:
        self.calls_shown.append((principal.username, alert_id, level))
        return True

    # ReadStore

    async def beds(self, now_ns: int) -> list[BedView]:
        found: list[BedView] = []
        for bed in self.beds_by_id.values():
            open_alerts = [
                alert
                for alert in self.alerts_by_id.values()
                if alert.bed_id == bed.bed_id and alert.presence != "off"
            ]
            time_ns = bed.numerics.time_ns
            age_s = None if time_ns is None else (now_ns - time_ns) / NS_PER_S - 1.0
            numerics = replace(bed.numerics, age_s=age_s)
            found.append(replace(bed, alerts=open_alerts, numerics=numerics))
        return found

    async def frames(
        self, bed_id: str, from_ns: int | None, until_ns: int | None, limit: int
    ) -> list[FrameView]:
        stored = self.frames_by_bed.get(bed_id, [])
        return stored[-limit:]

    async def trend(
        self,
        bed_id: str,
        features: Sequence[str],
        from_ns: int,
        until_ns: int,
        bucket_s: int | None,
    ) -> TrendView:
        return TrendView(
            bed_id=bed_id, bucket_s=bucket_s or 60, time_ns=[], pseudonym=[], n_frames=[],
            features={name: TrendSeries(minimum=[], mean=[], maximum=[]) for name in features},
        )  # fmt: skip

    async def alerts(
        self, *, active: bool | None, bed_id: str | None, limit: int, now_ns: int
    ) -> list[AlertView]:
        found = [
            alert
            for alert in self.alerts_by_id.values()
            if (active is None or active == (alert.presence != "off"))
            and bed_id in (None, alert.bed_id)
        ]
        return sorted(found, key=lambda alert: -alert.decided_time_ns)[:limit]

    async def alert(self, alert_id: str, now_ns: int) -> AlertDetailView:
        alert = self._alert(alert_id)
        fields: dict[str, Any] = {
            name: getattr(alert, name) for name in AlertView.__dataclass_fields__
        }
        return AlertDetailView(
            **fields,
            events=self.events[alert_id],
            acknowledgements=self.acknowledgements.get(alert_id, []),
            verdicts=self.verdicts.get(alert_id, []),
        )

    async def strip_payload(self, alert_id: str) -> tuple[int, bytes]:
        if alert_id not in self.strips:
            raise NotFoundError("no strip yet")
        return self._alert(alert_id).onset_time_ns, encode(self.strips[alert_id])

    async def devices(self) -> list[DeviceView]:
        return self.device_rows

    async def dead_letters(self, limit: int) -> list[DeadLetterView]:
        return self.letters[:limit]

    async def model_commands(self, limit: int) -> list[ModelCommandView]:
        return self.commands[:limit]

    async def ping(self) -> None:
        return None

    # ModelRepository

    @property
    def directory(self) -> Path | None:
        return None

    def versions(self) -> list[ModelVersionView]:
        return self.versions_offered

    def _alert(self, alert_id: str) -> AlertView:
        if alert_id not in self.alerts_by_id:
            raise NotFoundError(f"there is no alert {alert_id}")
        return self.alerts_by_id[alert_id]


async def _until(
    events: AsyncIterator[bytes], cut: asyncio.Event, ward: MemoryWard
) -> AsyncIterator[bytes]:
    cutting = asyncio.ensure_future(cut.wait())
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            await asyncio.wait({coming, cutting}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() or coming.result() is None:
                return
            chunk = coming.result()
            coming = asyncio.ensure_future(anext(events, None))
            if chunk is not None and not ward.mute:
                yield chunk
    finally:
        coming.cancel()
        cutting.cancel()
        await asyncio.gather(coming, cutting, return_exceptions=True)
