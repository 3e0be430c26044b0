"""RFC 6962's tree: the vectors that implementations of Certificate Transparency share, and its laws for any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.receipts import merkle

LEAVES = [
    bytes.fromhex(one)
    for one in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
}
CONSISTENCY = {
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}


def hashes(size: int) -> list[bytes]:
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def over(leaves: list[bytes]) -> merkle.Subtree:
    return lambda level, index: merkle.complete_root(leaves[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(9))
def test_roots(size: int) -> None:
    leaves = [merkle.leaf_hash(one) for one in LEAVES[:size]]
    assert merkle.root_of(leaves).hex() == ROOTS[size]
    assert merkle.root(size, over(leaves)).hex() == ROOTS[size]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion(index: int, size: int) -> None:
    leaves = [merkle.leaf_hash(one) for one in LEAVES[:size]]
    proof = merkle.inclusion(index, size, over(leaves))
    assert tuple(one.hex() for one in proof) == INCLUSION[index, size]
    assert merkle.included(leaves[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency(old: int, new: int) -> None:
    leaves = [merkle.leaf_hash(one) for one in LEAVES[:new]]
    proof = merkle.consistency(old, new, over(leaves))
    assert tuple(one.hex() for one in proof) == CONSISTENCY[old, new]
    assert merkle.consistent(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@given(st.integers(1, 300), st.data())
def test_every_entry_can_be_proved_and_nothing_else(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    root = merkle.root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion(index, size, over(leaves))
    assert merkle.included(leaves[index], index, size, proof, root)
    assert not merkle.included(merkle.leaf_hash(b"another"), index, size, proof, root)
    assert not merkle.included(leaves[index], index, size, [*proof, root], root)
    assert not merkle.included(leaves[index], size, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    assert merkle.included(leaves[index], other, size, proof, root) == (other == index)
    for at in range(len(proof)):
        assert not merkle.included(leaves[index], index, size, proof[:at] + proof[at + 1 :], root)


@given(st.integers(0, 300), st.data())
def test_an_older_tree_is_the_beginning_of_a_newer_one(new: int, data: st.DataObject) -> None:
    leaves = hashes(new)
    old = data.draw(st.integers(0, new))
    before, after = merkle.root_of(leaves[:old]), merkle.root_of(leaves)
    proof = merkle.consistency(old, new, over(leaves)) if old else []
    assert merkle.consistent(old, new, before, after, proof)
    if 0 < old < new:
        assert not merkle.consistent(old, new, merkle.leaf_hash(b"x"), after, proof)
        assert not merkle.consistent(old, new, before, merkle.leaf_hash(b"x"), proof)
        assert not merkle.consistent(old, new, before, after, proof[:-1])
