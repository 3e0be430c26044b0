"""The documents' own names over ours, so that an application that was written after one of them edits its import lines only.

One module for each document; nothing is decided here that `penstock.client` does not decide.
"""
