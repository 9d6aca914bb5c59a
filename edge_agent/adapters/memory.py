"""Giving memory back that only start-up needed."""

import ctypes
import gc
from contextlib import suppress
from pathlib import Path
from typing import Final

_MADV_DONTNEED: Final = 4
"""Of madvise(2). On code of a file it only drops the mapping's pages: the next call reads them again."""

_LEAST_BYTES: Final = 1_000_000


def give_back(maps: Path = Path("/proc/self/maps")) -> int:
    """Return to the system what compiling and importing touched; how many bytes of code.

    LLVM alone keeps 60 MB of its code resident after the kernels are loaded and is not called
    again. Only executable, unwritable mappings of files are dropped: nothing ever changes
    them, so the kernel reads what is needed after all from the page cache. Does nothing where
    there is no Linux and glibc.
    """
    gc.collect()
    gc.freeze()
    n_bytes = 0
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in _code_of_files(maps):
            if library.madvise(start, end - start, _MADV_DONTNEED) == 0:
                n_bytes += end - start
        library.malloc_trim(0)
    return n_bytes


def _code_of_files(maps: Path) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for line in maps.read_text().splitlines():
        # address permissions offset device inode path
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1] == "r-xp" and fields[5].startswith("/"):
            start, end = (int(text, 16) for text in fields[0].split("-"))
            if end - start >= _LEAST_BYTES:
                found.append((start, end))
    return found
