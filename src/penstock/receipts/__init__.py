"""Receipts: what is kept of every request in a transparency log that anybody can verify without the gateway."""
