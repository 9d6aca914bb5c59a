"""The fleet's models, and the signed repository devices fetch from."""

import asyncio

from fastapi import APIRouter, Request, Response

from cloud_api.core.errors import NotFoundError
from cloud_api.core.views import DeviceModelView, ModelCommandView, ModelsView
from cloud_api.http.bodies import ModelCommandBody
from cloud_api.http.files import serve_file
from cloud_api.http.identity import SignedInUser, Watcher
from cloud_api.http.parts import Parts, json_response

router = APIRouter(tags=["models"])


@router.get("/api/models", response_model=ModelsView)
async def models(parts: Parts, _user: Watcher) -> Response:
    """What the repository offers, what each device runs or refused and why."""
    versions = await asyncio.to_thread(parts.models.versions)
    devices = [
        DeviceModelView(
            device_id=device.device_id,
            site_id=device.site_id,
            bed_id=device.bed_id,
            connectivity=device.connectivity,
            state=device.model.state,
            version=device.model.version,
            sha256=device.model_sha256,
            refused_version=device.model.refused_version,
            reason=device.model.reason,
            n_windows_judged=device.n_windows_judged,
            n_windows_unjudged=device.n_windows_unjudged,
        )
        for device in await parts.reads.devices()
    ]
    commands = await parts.reads.model_commands(50)
    return json_response(ModelsView(versions=versions, devices=devices, commands=commands))


@router.post("/api/models/commands", status_code=202, response_model=ModelCommandView)
async def command(body: ModelCommandBody, parts: Parts, user: SignedInUser) -> Response:
    """Announce a version, or a step back, to one device or to a whole site."""
    view = await parts.alerts.command_model(
        user,
        site_id=body.site_id,
        device_id=body.device_id,
        action=body.action,
        version=body.version,
    )
    return json_response(view, 202)


@router.get("/models/{kind}/{path:path}", response_class=Response)
async def repository(kind: str, path: str, request: Request, parts: Parts) -> Response:
    """A file of the signed repository. Public: who fetches it verifies it."""
    root = parts.models.directory
    if root is None or kind not in ("metadata", "targets"):
        raise NotFoundError("there is no such file")
    return await asyncio.to_thread(serve_file, root / kind, path, request.headers)
