"""The errors that cross a border between parts, by what the caller should do about them.

    WardstreamError
    ├── ContractError          the data is wrong: dead-letter it, never retry
    │   ├── UnknownSchemaError     a schema id, code, or topic nobody registered
    │   ├── TruncatedError         too few or too many bytes
    │   └── OutOfRangeError        a value that cannot be
    ├── TransientError         a link or store is away: retry with jitter until a deadline
    ├── RefusedError           the caller may not do this: becomes 4xx
    └── ConfigurationError     settings are wrong: list all problems, exit 78

Anything else that escapes is a defect and ends the process.
"""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """How a Wardstream process ends; the supervisor and systemd units read these."""

    OK = 0
    CRASHED = 1
    USAGE = 2
    """The command line was wrong (the code typer and argparse use)."""
    DATA_ERROR = 65
    """An input file or recording could not be read (sysexits EX_DATAERR)."""
    UNAVAILABLE = 69
    """Something the command needs could not be had (sysexits EX_UNAVAILABLE)."""
    CONFIGURATION = 78
    """Settings are wrong; every problem was listed (sysexits EX_CONFIG)."""


class WardstreamError(Exception):
    """Root of every error this project raises on purpose."""


class ContractError(WardstreamError):
    """The data breaks a contract. Retrying cannot help; it belongs in the dead-letter topic.

    Attributes
    ----------
    offset : int or None
        First byte of the payload that is wrong, where the payload is binary.
    """

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"byte {offset}: {message}")
        self.offset = offset


class UnknownSchemaError(ContractError):
    """A schema id, code, or topic that is not registered."""


class TruncatedError(ContractError):
    """The payload has fewer or more bytes than its schema says."""


class OutOfRangeError(ContractError):
    """A value that cannot be: infinite, negative where it counts, of the wrong shape."""


class TransientError(WardstreamError):
    """A link or a store is away for now. Retry with jitter until a deadline."""


class RefusedError(WardstreamError):
    """The caller may not do this, whatever the state of the links."""


class ConfigurationError(WardstreamError):
    """Settings are wrong. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
