"""From trained weights to an INT8 graph that answers like the network it came from."""
