"""The agent at the bed: acquires, judges, annunciates, keeps, and sends."""

__version__ = "0.1.0"
