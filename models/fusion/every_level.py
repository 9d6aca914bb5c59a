"""Every level of fusion by name."""

from collections.abc import Mapping

from models.fusion.attention import fit_middle
from models.fusion.levels import Fit, fit_early, fit_late


def levels() -> Mapping[str, Fit]:
    """How each is fitted."""
    return {"early": fit_early, "middle": fit_middle, "late": fit_late}
