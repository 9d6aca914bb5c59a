"""FHIR by polling: what a server changed since we looked last, page by page."""

import asyncio
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

import httpx

from stream_processors.record_gateway.fhir_intake import STATED
from stream_processors.record_gateway.fhir_push import take_fhir
from stream_processors.record_gateway.gateway import Gateway
from wardstream.contracts.errors import ConfigurationError, TransientError

logger = logging.getLogger(__name__)

POLLED: Final = ("Patient", "Encounter", *STATED)
"""In this order, so that patients are mostly known before what is said of them."""
_OVERLAP: Final = timedelta(seconds=2)
"""Read again before the cursor: servers date a change before it can be seen. Repeats do no harm."""
_MAX_PAGES: Final = 1_000
_LONGEST_PAUSE_S: Final = 300.0


@dataclass(slots=True)
class PollCounts:
    """Since start; exported as metrics."""

    pages: int = 0
    resources: int = 0
    failures: int = 0


class PolledServerError(TransientError):
    """The server did not give what a FHIR server gives; perhaps it will later."""


class FhirPoller:
    """Reads one FHIR server.

    Parameters
    ----------
    gateway : Gateway
        Takes what is read and keeps the cursor.
    base_url : str
        For example ``https://ehr.example/fhir``.
    every_s : float
        Pause between two rounds.
    token : str or None
        Bearer token.
    transport : httpx.AsyncBaseTransport, optional
        Instead of the network.
    """

    name = "fhir poll"

    def __init__(
        self,
        gateway: Gateway,
        base_url: str,
        *,
        every_s: float,
        token: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigurationError(["STREAM_FHIR_POLL_URL is no http(s) address"])
        self._gateway = gateway
        self._base = base_url.rstrip("/")
        self._every_s = every_s
        self._transport = transport
        self._headers = {"Accept": "application/fhir+json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self.counts = PollCounts()

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set; a server that is away is asked ever more rarely."""
        pause_s = self._every_s
        while not stop.is_set():
            try:
                await self.poll_once()
                pause_s = self._every_s
            except Exception as error:  # noqa: BLE001 - a strange server never ends the HL7 side
                self.counts.failures += 1
                logger.warning("FHIR server: %s; asked again in %.0f s", _kind(error), pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                async with asyncio.timeout(pause_s * random.uniform(0.9, 1.1)):  # noqa: S311
                    await stop.wait()
            except TimeoutError:
                pass

    async def poll_once(self) -> None:
        """One round over every resource type.

        Raises
        ------
        TransientError
            The server, ledger or Kafka is away; the cursor stands where all before it is stored.
        httpx.HTTPError
            The server is away.
        """
        async with httpx.AsyncClient(
            headers=self._headers, timeout=30, transport=self._transport
        ) as client:
            for resource_type in POLLED:
                await self._poll_type(client, resource_type)

    async def _poll_type(self, client: httpx.AsyncClient, resource_type: str) -> None:
        cursor = await self._gateway.cursor(self._base, resource_type)
        parameters = {"_sort": "_lastUpdated", "_count": "200"}
        if cursor is not None:
            since = datetime.fromisoformat(cursor) - _OVERLAP
            parameters["_lastUpdated"] = f"ge{since.isoformat()}"
        url: str | None = f"{self._base}/{resource_type}"
        params: dict[str, str] | None = parameters
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            if url is None or url in seen:
                return
            seen.add(url)
            bundle = await self._page(client, url, params)
            cursor = await self._take(bundle, resource_type, cursor)
            params = None
            url = self._next(bundle)

    async def _page(
        self, client: httpx.AsyncClient, url: str, params: Mapping[str, str] | None
    ) -> dict[str, Any]:
        response = await client.get(url, params=params)
        if response.status_code != 200:
            raise PolledServerError(f"answers {response.status_code}")
        try:
            bundle = response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise PolledServerError("its answer is no JSON") from error
        if not isinstance(bundle, dict):
            raise PolledServerError("its answer is no Bundle")
        found = cast("dict[str, Any]", bundle)
        if found.get("resourceType") != "Bundle":
            raise PolledServerError("its answer is no Bundle")
        self.counts.pages += 1
        return found

    async def _take(
        self, bundle: dict[str, Any], resource_type: str, cursor: str | None
    ) -> str | None:
        newest = cursor
        for entry in cast("list[dict[str, Any]]", bundle.get("entry") or []):
            resource = cast("dict[str, Any]", entry.get("resource") or {})
            if resource.get("resourceType") != resource_type:
                continue  # the server's own OperationOutcome
            self.counts.resources += 1
            payload = json.dumps(resource, sort_keys=True, ensure_ascii=False).encode(
                "utf-8", "replace"
            )
            await take_fhir(self._gateway, payload, self._base)
            newest = _later(newest, cast("dict[str, Any]", resource.get("meta") or {}))
        if newest is not None and newest != cursor:
            await self._gateway.move_cursor(self._base, resource_type, newest)
        return newest

    def _next(self, bundle: dict[str, Any]) -> str | None:
        for link in cast("list[dict[str, Any]]", bundle.get("link") or []):
            if link.get("relation") == "next":
                url = urljoin(f"{self._base}/", str(link.get("url") or ""))
                if urlsplit(url).netloc != urlsplit(self._base).netloc:
                    # Our token is for this server alone.
                    raise PolledServerError("its next page is on another server")
                return url
        return None


def _later(newest: str | None, meta: Mapping[str, Any]) -> str | None:
    try:
        updated = datetime.fromisoformat(str(meta.get("lastUpdated")))
    except ValueError:
        return newest
    if updated.tzinfo is None:
        return newest
    if newest is not None and datetime.fromisoformat(newest) >= updated:
        return newest
    return updated.isoformat()


def _kind(error: Exception) -> str:
    # An httpx error may quote the address it asked, and that a patient's id.
    return str(error) if isinstance(error, TransientError) else type(error).__name__
