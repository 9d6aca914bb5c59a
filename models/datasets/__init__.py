"""Recordings with labels, as windows that know whose they are."""
