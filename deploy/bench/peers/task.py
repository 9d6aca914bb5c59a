"""The keyed join and score every peer does with one frame; standard library only."""

import json
import struct
import time

_HEADER = struct.Struct("<HHB3x24s16sQqqQ")
_FEATURES = struct.Struct("<35f")

# Positions of heart rate, SpO2, systolic pressure, respiration and temperature (BEDSIDE_V1).
_HEART, _SPO2, _SYSTOLIC, _RESPIRATION, _TEMPERATURE = 0, 3, 4, 7, 8

PATIENTS = {f"load-{number:03}": (f"p-{number}", 1950, "female") for number in range(200)}


def _band(value: float, *bands: tuple[float, int]) -> int:
    for limit, points in bands:
        if value <= limit:
            return points
    return 0


def score(features: tuple[float, ...]) -> int:
    """NEWS2 of what was measured; missing counts nothing."""
    return (
        _band(features[_RESPIRATION], (8, 3), (11, 1), (20, 0), (24, 2), (1e9, 3))
        + _band(features[_SPO2], (91, 3), (93, 2), (95, 1), (1e9, 0))
        + _band(features[_SYSTOLIC], (90, 3), (100, 2), (110, 1), (219, 0), (1e9, 3))
        + _band(features[_HEART], (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (1e9, 3))
        + _band(features[_TEMPERATURE], (35, 3), (36, 1), (38, 0), (39, 1), (1e9, 2))
    )


def row_of(payload: bytes) -> tuple[object, ...]:
    """Decoded, joined with the patient of its bed, scored."""
    _, _, mode, device, boot, number, start_ns, monotonic_ns, _ = _HEADER.unpack_from(payload)
    features = _FEATURES.unpack_from(payload, 80)
    name = device.rstrip(b"\x00").decode()
    pseudonym, birth_year, sex = PATIENTS[name]
    age = 1970 + start_ns // 31_556_952_000_000_000 - birth_year
    points = score(features)
    return (name, boot, number, start_ns, monotonic_ns, mode, pseudonym, age, sex, points, features)


class Stopwatch:
    """Times from the first frame to the last."""

    def __init__(self) -> None:
        self.n = 0
        self._wall = self._cpu = 0.0

    def tick(self) -> int:
        """Count one frame."""
        if not self.n:
            self._wall, self._cpu = time.perf_counter(), time.process_time()
        self.n += 1
        return self.n

    def tell(self) -> None:
        """Print the figures as JSON."""
        wall_s, cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        print(json.dumps({"frames": self.n - 1, "wall_s": wall_s, "cpu_s": cpu_s}), flush=True)
