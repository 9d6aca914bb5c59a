"""Signing in and out."""

from fastapi import APIRouter, Request, Response

from cloud_api.core.staff import SHIFT_S, Principal
from cloud_api.http.bodies import SessionView, SignedInView, SignInBody
from cloud_api.http.identity import COOKIE, SignedInUser
from cloud_api.http.parts import Parts

router = APIRouter(prefix="/api/session", tags=["session"])


def _view(principal: Principal) -> SessionView:
    return SessionView(
        username=principal.username,
        roles=sorted(principal.roles),
        expires_time_ns=principal.expires_time_ns,
    )


@router.post("", response_model=SignedInView)
async def sign_in(
    body: SignInBody, request: Request, response: Response, parts: Parts
) -> SignedInView:
    """Sign in; the cookie is for browsers, the token for programs."""
    client = request.client.host if request.client else "unknown"
    signed = await parts.sign_in.sign_in(body.username, body.password, client)
    response.set_cookie(
        COOKIE,
        signed.access_token,
        max_age=SHIFT_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=parts.secure_cookie,
    )
    return SignedInView(**_view(signed.principal).model_dump(), access_token=signed.access_token)


@router.get("", response_model=SessionView)
async def session(principal: SignedInUser) -> SessionView:
    """Who is signed in."""
    return _view(principal)


@router.delete("", status_code=204, response_class=Response)
async def sign_out(principal: SignedInUser, parts: Parts) -> Response:
    """End the session for good, also for a copy of its token."""
    await parts.sign_in.sign_out(principal)
    response = Response(status_code=204)
    response.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="strict", secure=parts.secure_cookie
    )
    return response
