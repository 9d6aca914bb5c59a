"""Bundles on disk: a graph, what it says of itself, and the questions it must answer alike."""
