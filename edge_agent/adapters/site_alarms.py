"""A site's alarm profile from the disk, believed only under a trusted signature."""

from pathlib import Path

from edge_agent.adapters.signatures import OrderVerifier
from wardstream.alerting.site_alarms import SiteAlarms
from wardstream.contracts.codec import decode
from wardstream.contracts.errors import ConfigurationError, ContractError


def read_site_alarms(path: Path, site_id: str, key: Path | None) -> SiteAlarms:
    """The profile in `path` (JSON).

    Raises
    ------
    ConfigurationError
        It cannot be read, is another site's, or no trusted key signed it as it stands.
    """
    if key is None:
        raise ConfigurationError(["EDGE_SITE_ALARMS needs EDGE_ORDERS_KEY"])
    try:
        site = decode(path.read_bytes(), SiteAlarms)
    except (OSError, ContractError) as error:
        raise ConfigurationError([f"EDGE_SITE_ALARMS: {path}: {error}"]) from error
    if site.site_id != site_id:
        raise ConfigurationError([f"EDGE_SITE_ALARMS: {path} is of site {site.site_id}"])
    if not OrderVerifier(key)(site):
        raise ConfigurationError([f"EDGE_SITE_ALARMS: no trusted key signed {path}"])
    return site
