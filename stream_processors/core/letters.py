"""Messages that broke a contract, made into letters a person can read and replay."""

import base64
from typing import Final
from uuid import UUID, uuid5

from wardstream.contracts.topics import DeadLetter

_NAMESPACE: Final = UUID("0b5c6b8e-6a0f-5f0e-9d3e-4a1c5b7f2d11")

MAX_KEPT_BYTES: Final = 600_000
"""Of a longer message the rest is dropped, so that its letter stays below every size limit."""


def dead_letter(
    *, origin: str, device_id: str, reason: str, payload: bytes, received_time_ns: int
) -> DeadLetter:
    """The letter for `payload`; the same bytes from the same origin give the same letter id."""
    letter_id = uuid5(_NAMESPACE, f"{origin}\n{base64.b64encode(payload).decode()}")
    if len(payload) > MAX_KEPT_BYTES:
        reason = f"{reason} (the first {MAX_KEPT_BYTES} of {len(payload)} bytes are kept)"
    return DeadLetter(
        letter_id=str(letter_id),
        origin=origin,
        device_id=device_id,
        reason=reason,
        payload_base64=base64.b64encode(payload[:MAX_KEPT_BYTES]).decode(),
        received_time_ns=received_time_ns,
    )
