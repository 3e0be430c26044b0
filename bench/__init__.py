"""What stands between a client and its engine costs something; this package measures how much, beside others.

Run as `python -m bench` (`make bench`). Nothing in `src/` imports it and it imports nothing of ours: the gateway is measured from
outside, as a process. README.md says how to read the figures.
"""
