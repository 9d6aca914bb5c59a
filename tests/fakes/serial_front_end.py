"""The firmware of a front-end board at the other end of a pseudo-terminal."""

import os
import tty

import numpy as np

from edge_agent.adapters.drivers.serial_frames import encode_frame


class SerialFrontEnd:
    """Sends frames of `n_channels`; sample k of channel c has k + 1000 c counts."""

    def __init__(self, n_channels: int = 2, n_samples: int = 10) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self.n_channels, self.n_samples = n_channels, n_samples
        self.number = 0
        self.offset = 0  # added to every count, so that what comes later looks different

    def frame(self, lead_off: int = 0) -> bytes:
        """The next frame; sending it is up to the test, which may damage it first."""
        first = self.number * self.n_samples
        counts = (
            np.arange(first, first + self.n_samples)
            + self.offset
            + 1000 * np.arange(self.n_channels)[:, None]
        )
        made = encode_frame(self.number, counts.astype(np.int32), lead_off)
        self.number += 1
        return made

    def send(self, data: bytes) -> None:
        os.write(self._master, data)

    def unplug(self) -> None:
        """Close both ends, as pulling the cable does."""
        for end in (self._master, self._slave):
            if end >= 0:
                os.close(end)
        self._master = self._slave = -1
