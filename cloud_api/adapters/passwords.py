"""Argon2 through pwdlib."""

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError


class Argon2Passwords:
    """Slow on purpose; call it off the event loop."""

    def __init__(self) -> None:
        self._passwords = PasswordHash.recommended()

    def hash(self, password: str) -> str:
        """Salted hash of `password`, in PHC format."""
        return self._passwords.hash(password)

    def verify(self, password: str, password_hash: str) -> bool:
        """Whether `password` is what `password_hash` was made of."""
        try:
            return self._passwords.verify(password, password_hash)
        except UnknownHashError:
            return False
