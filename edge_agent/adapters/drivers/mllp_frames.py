"""The frames of MLLP, which the record gateway cuts alike."""

from wardstream.contracts.mllp import END, MAX_MESSAGE_BYTES, START, MllpFramer

__all__ = ["END", "MAX_MESSAGE_BYTES", "START", "MllpFramer"]
