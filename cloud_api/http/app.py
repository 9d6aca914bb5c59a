"""The application: routes over parts."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from cloud_api.http import (
    alert_routes,
    model_routes,
    order_routes,
    service_routes,
    session_routes,
    stream_routes,
    ward_routes,
)
from cloud_api.http.bodies import ProblemView
from cloud_api.http.guard import RequestGuard
from cloud_api.http.parts import ApiParts
from cloud_api.http.problems import install_problems

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemView, "description": description}
    for status, description in (
        (401, "Not signed in"),
        (403, "Not allowed"),
        (404, "Not there"),
        (422, "The request does not fit"),
        (503, "The store is away"),
    )
}


def create_app(parts: ApiParts) -> FastAPI:
    """An application on `parts`; nothing of it is global."""
    app = FastAPI(
        title="Wardstream",
        version=version("wardstream"),
        description="Intensive-care monitoring: beds, alerts, strips, models.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses=_PROBLEMS,
    )
    app.state.parts = parts
    install_problems(app)
    for module in (session_routes, ward_routes, alert_routes, order_routes, stream_routes):
        app.include_router(module.router)
    app.include_router(model_routes.router)
    app.include_router(service_routes.router)
    app.include_router(service_routes.page_router)
    app.add_middleware(RequestGuard)
    return app
