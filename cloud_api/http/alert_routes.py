"""Alerts, their strips, and what staff say of them."""

import asyncio
from typing import Annotated
from uuid import UUID

import numpy as np
from fastapi import APIRouter, Body, Path, Query, Response

from cloud_api.core.views import (
    AlertDetailView,
    AlertView,
    StripChannelView,
    StripView,
    VerdictView,
)
from cloud_api.http.bodies import AcknowledgeBody, AcknowledgementSentView, VerdictBody
from cloud_api.http.identity import SignedInUser, Watcher
from cloud_api.http.parts import Parts, json_response
from wardstream.contracts.codec import decode
from wardstream.contracts.codes import code_by_mdc
from wardstream.contracts.waveform import AlertStrip

router = APIRouter(prefix="/api/alerts", tags=["alerts"])


@router.get("", response_model=list[AlertView])
async def alerts(
    parts: Parts,
    _user: Watcher,
    active: bool | None = None,
    bed_id: Annotated[str | None, Query(max_length=24)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Alerts as they stand, the last decided first."""
    found = await parts.reads.alerts(
        active=active, bed_id=bed_id, limit=limit, now_ns=parts.clock()
    )
    return json_response(found)


@router.get("/{alert_id}", response_model=AlertDetailView)
async def alert(alert_id: UUID, parts: Parts, _user: Watcher) -> Response:
    """One alert with its events, acknowledgements and verdicts."""
    return json_response(await parts.reads.alert(str(alert_id), parts.clock()))


@router.get("/{alert_id}/strip", response_model=StripView)
async def strip(alert_id: UUID, parts: Parts, _user: Watcher) -> Response:
    """The curves around the alert; 404 until they arrived."""
    onset_ns, payload = await parts.reads.strip_payload(str(alert_id))
    view = await asyncio.to_thread(_strip_view, str(alert_id), onset_ns, payload)
    return json_response(view)


def _strip_view(alert_id: str, onset_ns: int, payload: bytes) -> StripView:
    decoded = decode(payload, AlertStrip)
    channels: list[StripChannelView] = []
    for chunk in decoded.chunks:
        # Five decimals lie below the resolution of any bedside ADC in any of our units.
        samples = np.round(chunk.samples.astype(np.float64), 5)
        for code, curve in zip(chunk.codes, samples, strict=True):
            values: list[float | None] = curve.tolist()
            for position in np.flatnonzero(np.isnan(curve)):
                values[position] = None
            channels.append(
                StripChannelView(
                    code=code,
                    label=code_by_mdc(code).label,
                    unit=chunk.unit.value,
                    sampling_rate_hz=chunk.sampling_rate_hz,
                    start_time_ns=chunk.start_time_ns,
                    samples=values,
                )
            )
    return StripView(alert_id=alert_id, onset_time_ns=onset_ns, channels=channels)


@router.post("/{alert_id}/acknowledgement", status_code=202, response_model=AcknowledgementSentView)
async def acknowledge(
    alert_id: UUID,
    parts: Parts,
    user: SignedInUser,
    body: Annotated[AcknowledgeBody | None, Body()] = None,
) -> AcknowledgementSentView:
    """Say that you saw it. It is confirmed once the bed's own event says so."""
    body = body or AcknowledgeBody()
    pending = await parts.alerts.acknowledge(
        user, str(alert_id), body.reason, seen_revision=body.seen_revision
    )
    return AcknowledgementSentView(command_id=pending.command.command_id)


@router.post("/{alert_id}/calls/{level}/shown", status_code=204)
async def shown(
    alert_id: UUID,
    level: Annotated[int, Path(ge=0, le=9)],
    parts: Parts,
    user: SignedInUser,
) -> Response:
    """Say that this station has shown a call to somebody it was meant for."""
    await parts.escalations.shown(user, str(alert_id), level)
    return Response(status_code=204)


@router.post("/{alert_id}/verdict", status_code=201, response_model=VerdictView)
async def verdict(alert_id: UUID, body: VerdictBody, parts: Parts, user: SignedInUser) -> Response:
    """Say whether it was right; training reads this."""
    view = await parts.alerts.judge(user, str(alert_id), body.verdict, body.comment)
    return json_response(view, 201)
