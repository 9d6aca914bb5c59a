"""Driver libraries, imported when a driver is chosen; a missing one says what to install."""

import warnings
from importlib import import_module
from types import ModuleType

from wardstream.contracts.errors import ConfigurationError


def import_driver(name: str) -> ModuleType:
    """The module `name`, which belongs to the extra ``drivers``.

    Raises
    ------
    ConfigurationError
        It is not installed, or cannot be loaded on this machine.
    """
    try:
        with warnings.catch_warnings():
            # What a library deprecates in the act of being imported is its own business.
            warnings.simplefilter("ignore")
            return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            [f"this source needs {name} ({error}): pip install 'wardstream[drivers]'"]
        ) from error
    except (OSError, RuntimeError) as error:  # pylsl: its native library is not there
        raise ConfigurationError([f"{name} cannot be loaded here: {error}"]) from error
