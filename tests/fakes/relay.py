"""A loopback address that leads nowhere until it is opened, and then to a server."""

import socket
import threading
from contextlib import suppress

_LOOPBACK = "127.0.0.1"


class Relay:
    """Holds a free port: connections are refused until `open`, then passed on byte for byte."""

    def __init__(self, target_port: int) -> None:
        self._target = (_LOOPBACK, target_port)
        self._listener = socket.socket()
        self._listener.bind((_LOOPBACK, 0))  # bound and not listening: it refuses
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = [self._listener]

    def open(self) -> None:
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
