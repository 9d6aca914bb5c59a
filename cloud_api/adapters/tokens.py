"""Session tokens: JWTs that name a session, one algorithm, one issuer, one audience."""

import hashlib
import hmac
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from cloud_api.core.errors import NotSignedInError
from cloud_api.core.staff import Principal
from wardstream.contracts.errors import ContractError
from wardstream.contracts.identity import check_boot_id
from wardstream.contracts.timebase import NS_PER_S

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "wardstream"
_AUDIENCE: Final = "wardstream-cloud-api"
_TYPE: Final = "session+jwt"


class SessionTokens:
    """Signs and checks session tokens. What a person may do is not in them: the store says."""

    def __init__(self, secret: str) -> None:
        # A key of its own, derived from the secret for this purpose alone.
        key = hmac.new(secret.encode(), b"wardstream session token 1", hashlib.sha256).digest()
        self._key = OctKey.import_key(key)

    def issue(self, principal: Principal, now_ns: int) -> str:
        """A token for the session of `principal`, valid until the session's latest end."""
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": principal.username,
            "sid": principal.session_id,
            "iat": now_ns // NS_PER_S,
            "exp": principal.expires_time_ns // NS_PER_S,
        }
        header = {"alg": _ALGORITHM, "typ": _TYPE}
        return jwt.encode(header, claims, self._key, algorithms=[_ALGORITHM])

    def session_id(self, token: str, now_ns: int) -> str:
        """Session the token is of.

        Raises
        ------
        NotSignedInError
            It is forged, foreign, expired, or no token at all.
        """
        try:
            decoded = jwt.decode(token, self._key, algorithms=[_ALGORITHM])
            claims = decoded.claims
            if decoded.header.get("typ") != _TYPE:
                raise NotSignedInError("this is not a session token")
            registry = jwt.JWTClaimsRegistry(
                now=now_ns // NS_PER_S,
                iss={"essential": True, "value": _ISSUER},
                aud={"essential": True, "value": _AUDIENCE},
                exp={"essential": True},
                sub={"essential": True},
                sid={"essential": True},
            )
            registry.validate(claims)
            return check_boot_id(str(claims["sid"]))
        except (JoseError, ContractError, ValueError) as error:
            raise NotSignedInError("the session is over; sign in again") from error
