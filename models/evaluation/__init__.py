"""How good a model is, on patients it never saw, and whether that is good enough.

One module a protocol; `protocols` lists them. A protocol sees windows, probabilities and
operating points, and never asks where they came from: the shipped artifact, or the network of
the fold that did not learn from that patient.
"""
