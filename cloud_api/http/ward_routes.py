"""Beds, devices and what was refused."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from cloud_api.core.errors import NotFoundError
from cloud_api.core.staff import Permission
from cloud_api.core.views import (
    BedView,
    DeadLetterView,
    DeviceView,
    FrameView,
    NumericsView,
    TrendView,
)
from cloud_api.http.identity import Watcher
from cloud_api.http.parts import Parts, json_response
from wardstream.contracts.identity import check_id

router = APIRouter(prefix="/api", tags=["ward"])

_LAST_NS: Final = 7_258_118_400_000_000_000  # 2200: the store's clock ends later, datetime's too
TimeNs = Annotated[int | None, Query(ge=0, lt=2**63)]


@router.get("/beds", response_model=list[BedView])
async def beds(parts: Parts, _user: Watcher) -> Response:
    """Every bed with its newest second, its patient's context and its open alerts."""
    return json_response(await parts.reads.beds(parts.clock()))


@router.get("/beds/{bed_id}/numerics", response_model=NumericsView)
async def numerics(bed_id: str, parts: Parts, _user: Watcher) -> Response:
    """The newest second of a bed; of its device last heard of, should it have several."""
    check_id(bed_id, "bed_id")
    at_bed = [bed for bed in await parts.reads.beds(parts.clock()) if bed.bed_id == bed_id]
    if not at_bed:
        raise NotFoundError(f"there is no bed {bed_id}")
    return json_response(max(at_bed, key=lambda bed: bed.last_seen_time_ns).numerics)


@router.get("/beds/{bed_id}/frames", response_model=list[FrameView])
async def frames(
    bed_id: str,
    parts: Parts,
    _user: Watcher,
    from_ns: TimeNs = None,
    until_ns: TimeNs = None,
    limit: Annotated[int, Query(ge=1, le=3600)] = 300,
) -> Response:
    """The newest stored seconds of a bed in ``[from_ns, until_ns)``, oldest first."""
    check_id(bed_id, "bed_id")
    return json_response(await parts.reads.frames(bed_id, from_ns, until_ns, limit))


@router.get("/beds/{bed_id}/trend", response_model=TrendView)
async def trend(
    bed_id: str,
    parts: Parts,
    _user: Watcher,
    feature: Annotated[list[str], Query(min_length=1, max_length=40)],
    from_ns: Annotated[int, Query(ge=0, lt=_LAST_NS)],
    until_ns: Annotated[int, Query(ge=0, lt=_LAST_NS)],
    bucket_s: Annotated[int | None, Query()] = None,
) -> Response:
    """Minimum, mean and maximum of features a bucket of 10, 60 or 900 s, oldest first."""
    check_id(bed_id, "bed_id")
    return json_response(
        await parts.reads.trend(bed_id, list(dict.fromkeys(feature)), from_ns, until_ns, bucket_s)
    )


@router.get("/devices", response_model=list[DeviceView])
async def devices(parts: Parts, _user: Watcher) -> Response:
    """Every device that ever reported."""
    return json_response(await parts.reads.devices())


@router.get("/dead-letters", response_model=list[DeadLetterView])
async def dead_letters(
    parts: Parts, user: Watcher, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The newest messages that broke a contract, each with the reason."""
    user.require(Permission.INSPECT_LETTERS)
    return json_response(await parts.reads.dead_letters(limit))
