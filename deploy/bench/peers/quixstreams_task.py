"""Quix Streams: one frame a record, keyed by bed."""
# pyright: basic, reportMissingImports=false

import os
import sys

from quixstreams import Application
from task import Stopwatch, row_of


def main(bootstrap: str, topic: str, n_frames: int) -> None:
    """Consume `n_frames` and tell the time."""
    app = Application(
        broker_address=bootstrap, consumer_group="quix", auto_offset_reset="earliest",
        auto_create_topics=False, loglevel="ERROR",
    )  # fmt: skip
    watch = Stopwatch()

    def count(row: tuple[object, ...]) -> tuple[object, ...]:
        if watch.tick() >= n_frames:
            watch.tell()
            os._exit(0)
        return row

    source = app.topic(topic, key_deserializer="str", value_deserializer="bytes")
    stream = app.dataframe(source)
    stream = stream.apply(row_of)
    stream = stream.apply(count)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
