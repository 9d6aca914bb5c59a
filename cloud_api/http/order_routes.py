"""Silences, their leases, and patients' limits."""

from uuid import UUID

from fastapi import APIRouter

from cloud_api.core.orders import LimitsRequest, SilenceRequest
from cloud_api.http.bodies import (
    EndSilenceBody,
    LimitsBody,
    OrderSentView,
    RenewalBody,
    RenewalView,
    SilenceBody,
)
from cloud_api.http.identity import SignedInUser
from cloud_api.http.parts import Parts
from wardstream.contracts.authority import LimitPair

router = APIRouter(prefix="/api", tags=["orders"])


@router.post("/devices/{device_id}/silences", status_code=202, response_model=OrderSentView)
async def silence(
    device_id: str, body: SilenceBody, parts: Parts, user: SignedInUser
) -> OrderSentView:
    """Silence a bed. It is quiet once its own event says so, and while this station is alive."""
    request = SilenceRequest(
        device_id=device_id,
        kind=body.kind,
        station_id=str(body.station_id),
        scope=body.scope,
        seconds=body.seconds,
        reason=body.reason,
        seen={str(alert_id): revision for alert_id, revision in body.seen.items()},
    )
    return OrderSentView(order_id=await parts.orders.silence(user, request))


@router.post("/silences/{silence_id}/end", status_code=202, response_model=OrderSentView)
async def end_silence(
    silence_id: UUID, body: EndSilenceBody, parts: Parts, user: SignedInUser
) -> OrderSentView:
    """End a silence. It is over once the bed's own event says so."""
    await parts.orders.end_silence(user, str(silence_id), str(body.station_id))
    return OrderSentView(order_id=str(silence_id))


@router.post("/stations/renewal", response_model=RenewalView)
async def renew(body: RenewalBody, parts: Parts, user: SignedInUser) -> RenewalView:
    """Say that this station is alive; to be repeated twice a second while it silences a bed."""
    return RenewalView(device_ids=await parts.orders.renew(user, str(body.station_id)))


@router.post("/devices/{device_id}/limits", status_code=202, response_model=OrderSentView)
async def limits(
    device_id: str, body: LimitsBody, parts: Parts, user: SignedInUser
) -> OrderSentView:
    """Set the limits of the patient in a bed; none puts the site's back in force."""
    pairs = {
        measure: LimitPair(lower=pair.lower, upper=pair.upper)
        for measure, pair in body.limits.items()
    }
    request = LimitsRequest(
        device_id=device_id, limits=pairs, seconds=body.seconds, reason=body.reason
    )
    return OrderSentView(order_id=await parts.orders.set_limits(user, request))
