"""Files of other people's projects, read as far as the rules need them. Pure: text in, nouns of material.py out.

Lenient on purpose: what is not understood is passed over, and nothing here raises but `Unreadable`.
"""
