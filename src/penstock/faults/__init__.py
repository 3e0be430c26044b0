"""Engines that misbehave on purpose: they speak the real wire and do exactly what a script says.

The tests use them from here, and so does whoever wants to see how a deployment takes a fault. Nothing here imports the
gateway or our own codecs: a mistake made on both sides of a wire would cancel itself out.
"""
