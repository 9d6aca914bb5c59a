"""What a check-up of a device consists of, said without naming who looks."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How one check ended."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a check-up.

    Attributes
    ----------
    name : str
        What was looked at.
    verdict : Verdict
        A bed is watched with warnings, not with a failure.
    found : str
        What there is, with its figures.
    advice : str
        What to do about it; empty where nothing needs to be done.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Verdict.PASS, found)


def warned(name: str, found: str, advice: str) -> Check:
    """It works, but will not always."""
    return Check(name, Verdict.WARN, found, advice)


def failed(name: str, found: str, advice: str) -> Check:
    """It does not work."""
    return Check(name, Verdict.FAIL, found, advice)
