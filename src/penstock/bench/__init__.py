"""Measures engines and gateways from where an application stands: `penstock compare` and `penstock bench`.

One asyncio process asks over real connections and notes when bytes arrive. Nothing here knows a figure beforehand: what is printed
was measured, with its interval, or is said not to be known. Not to be confused with the repository's own benchmark of the gateway.
"""
