"""The Merkle tree of RFC 6962: hashes of leaves and nodes, proofs that an entry is in it and that one tree grew from another.

Pure: a tree is a function that gives the hash of a complete subtree, wherever that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

Subtree = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree of 2**level leaves that begins at leaf index * 2**level."""

EMPTY = sha256(b"").digest()
SIZE = 32


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Of a power of two of hashes; in bulk, because this is most of the work of writing and of verifying."""
    level = hashes
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return level[0]


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Of any number of leaf hashes, straight from the definition; for small trees and for tests."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return node_hash(root_of(leaves[:half]), root_of(leaves[half:]))


def split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def peaks(size: int) -> list[tuple[int, int]]:
    """The complete subtrees that a tree of this size is made of, largest first, as (level, index)."""
    found, begin = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, begin >> level))
            begin += 1 << level
    return found


def root(size: int, subtree: Subtree) -> bytes:
    if not size:
        return EMPTY
    return _folded([subtree(level, index) for level, index in peaks(size)])


def _folded(hashes: list[bytes]) -> bytes:
    """Subtrees of falling size, joined from the right."""
    result = hashes[-1]
    for one in reversed(hashes[:-1]):
        result = node_hash(one, result)
    return result


def span_root(begin: int, end: int, subtree: Subtree) -> bytes:
    """Of leaves begin..end, where `begin` is a multiple of the power of two that covers them."""
    hashes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        hashes.append(subtree(level, begin >> level))
        begin += 1 << level
    return _folded(hashes)


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The audit path of RFC 6962, section 2.1.1, from the leaf's sibling upwards."""
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            proof.append(span_root(middle, end, subtree))
            end = middle
        else:
            proof.append(span_root(begin, middle, subtree))
            begin = middle
    return proof[::-1]


def consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """The proof of RFC 6962, section 2.1.2, that the first `old` leaves of a tree are those of the older tree."""
    proof: list[bytes] = []
    begin, end, known = 0, new, True
    while old != end:
        middle = begin + split(end - begin)
        if old <= middle:
            proof.append(span_root(middle, end, subtree))
            end = middle
        else:
            proof.append(span_root(begin, middle, subtree))
            begin, known = middle, False
    if not known:
        proof.append(span_root(begin, end, subtree))
    return proof[::-1]


def included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether the proof leads from this leaf to that root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    fn, sn, result = index, size - 1, leaf
    for one in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            result = node_hash(one, result)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            result = node_hash(result, one)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and result == expected


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the new tree begins with the old one (RFC 9162, section 2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof
    if not 0 < old < new or not proof:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for one in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(one, first), node_hash(one, second)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, one)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root
