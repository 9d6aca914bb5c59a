"""Is it alive, is it ready, what does it count; and the page itself."""

import asyncio
import ipaddress

from fastapi import APIRouter, Request, Response

from cloud_api.core.errors import NotFoundError
from cloud_api.http.bodies import HealthView, ReadyView
from cloud_api.http.files import serve_file
from cloud_api.http.parts import Parts, json_response

router = APIRouter(tags=["service"])
page_router = APIRouter(include_in_schema=False)


@router.get("/api/health", response_model=HealthView)
async def health() -> HealthView:
    """The process lives; asks nobody else."""
    return HealthView()


@router.get("/api/ready", response_model=ReadyView)
async def ready(parts: Parts) -> Response:
    """200 once this replica can serve people, else 503 with what is missing."""
    state = parts.readiness()
    body = {
        "ready": state.is_ready,
        "broker": state.broker,
        "store": state.store,
        "journal": state.journal,
        "users": state.users,
    }
    return json_response(body, 200 if state.is_ready else 503)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, parts: Parts) -> Response:
    """Prometheus figures, for this machine only."""
    host = request.client.host if request.client else ""
    if not _is_loopback(host):
        raise NotFoundError("there is no such page")
    return Response(parts.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


@page_router.get("/{path:path}")
async def page(path: str, request: Request, parts: Parts) -> Response:
    """The dashboard and its assets; what they show needs a session, they do not."""
    if path == "api" or path.startswith(("api/", "models/")):
        raise NotFoundError("there is no such page")
    name = path or "index.html"
    return await asyncio.to_thread(serve_file, parts.static_dir, name, request.headers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
