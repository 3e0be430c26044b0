"""Codecs: bytes to types and back, without I/O."""
