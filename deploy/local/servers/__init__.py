"""Real servers on loopback, without containers and without root: started, killed, started again.

Nothing here knows a tier; tests and the one-machine stack use the same classes.
"""
