"""Files of one folder, and of nothing else."""

import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi import Response

from cloud_api.core.errors import NotFoundError

_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def serve_file(root: Path, relative: str, headers: Mapping[str, str]) -> Response:
    """File `relative` of the folder `root`, or 304 where the asker has it already.

    Files are small (page assets, a model under a megabyte), so they are read whole.

    Raises
    ------
    NotFoundError
        There is no such file in the folder; a path or a link that leads out of it is none.
    """
    if "\0" in relative:
        raise NotFoundError("there is no such file")
    base = root.resolve()
    path = (base / relative).resolve()
    if not path.is_relative_to(base) or not path.is_file():
        raise NotFoundError("there is no such file")
    state = path.stat()
    if state.st_size > _MAX_FILE_BYTES:
        raise NotFoundError("there is no such file")
    tag = f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
    # Asked for again each time, so a page or a signature is never older than the server's.
    caching = {"ETag": tag, "Cache-Control": "no-cache"}
    if headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=caching)
    media_type = mimetypes.guess_type(os.fspath(path))[0] or "application/octet-stream"
    return Response(path.read_bytes(), headers=caching, media_type=media_type)
