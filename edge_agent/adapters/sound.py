"""Alarm sound through a command that plays a WAV file from its standard input (ALSA: ``aplay -q``)."""

import asyncio
import io
import wave
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from wardstream.alerting.annunciation import BURSTS, burst_samples
from wardstream.contracts.alert import AlertPriority

SAMPLING_RATE_HZ: Final = 22_050
_GRACE_S: Final = 2.0


def burst_wav(priority: AlertPriority) -> bytes:
    """One burst as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(SAMPLING_RATE_HZ)
        wav.writeframes(burst_samples(priority, SAMPLING_RATE_HZ).tobytes())
    return file.getvalue()


class CommandPlayer:
    """`Player` that starts `command` for every burst, without a shell.

    A command that takes much longer than the burst is killed.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._wavs = {priority: burst_wav(priority) for priority in AlertPriority}

    async def play(self, priority: AlertPriority) -> None:
        """Play one burst to its end; cancelled, it stops at once.

        Raises
        ------
        OSError
            The command cannot be started, fails, or hangs.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(BURSTS[priority].length_s + _GRACE_S):
                _, told = await process.communicate(self._wavs[priority])
        except TimeoutError as error:
            raise OSError(f"{self._command[0]} does not come to an end") from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode:
            raise OSError(f"{self._command[0]}: {told.decode(errors='replace').strip()[-200:]}")
