# SPDX-License-Identifier: Apache-2.0
"""Merkle trees: the vectors of Certificate Transparency, and every small tree."""

from __future__ import annotations

import pytest

from protocol.errors import Malformed
from protocol.merkle import (
    inclusion_path,
    leaf_hash,
    node_hash,
    root,
    root_from_path,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
# Published with the reference implementation of RFC 6962
# (certificate-transparency, merkletree tests): roots of the first n leaves.
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# Of the same source: (leaf, from 0; leaves; siblings, the lowest first).
PATHS = (
    (
        0,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        3,
        ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    ),
    (
        1,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_the_reference(count: int) -> None:
    """Other people's verifiers find the same root."""
    assert root(LEAVES[:count]).hex() == ROOTS[count - 1]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 6962, section 2.1."""
    assert root([]).hex() == EMPTY


@pytest.mark.parametrize(("index", "size", "path"), PATHS)
def test_paths_are_those_of_the_reference(
    index: int, size: int, path: tuple[str, ...]
) -> None:
    """The same siblings, in the same order."""
    assert tuple(p.hex() for p in inclusion_path(LEAVES[:size], index)) == path


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    """All shapes up to 40 leaves, with an unpaired leaf at each level."""
    leaves = [bytes([n]) * 3 for n in range(40)]
    for size in range(1, 41):
        top = root(leaves[:size])
        for index in range(size):
            path = inclusion_path(leaves[:size], index)
            assert root_from_path(leaves[index], index, size, path) == top


def test_another_leaf_place_or_size_leads_elsewhere() -> None:
    """Whatever is changed, the root is another one, or the path does not fit."""
    leaves = [bytes([n]) for n in range(13)]
    top = root(leaves)
    path = inclusion_path(leaves, 6)

    def found(leaf: bytes, index: int, size: int, path: tuple[bytes, ...]) -> bytes:
        try:
            return root_from_path(leaf, index, size, path)
        except Malformed:
            return b""

    assert found(leaves[6], 6, 13, path) == top
    others = [found(leaf, 6, 13, path) for leaf in leaves if leaf != leaves[6]]
    others += [found(leaves[6], index, 13, path) for index in range(13) if index != 6]
    others += [found(leaves[6], 6, size, path) for size in (1, 4, 7, 8, 17, 64)]
    others += [found(leaves[6], 6, 13, path[:-1]), found(leaves[6], 6, 13, path[::-1])]
    others.append(found(leaves[6], 6, 13, (*path, path[0])))
    assert top not in others


def test_node_does_not_pass_as_a_leaf() -> None:
    """Attack: show two hashes of a level as one leaf (second preimage)."""
    leaves = [b"a", b"b", b"c", b"d"]
    inner = leaf_hash(b"a") + leaf_hash(b"b")
    path = (node_hash(leaf_hash(b"c"), leaf_hash(b"d")),)
    assert root_from_path(inner, 0, 2, path) != root(leaves)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_place_outside_the_tree_is_refused(index: int, size: int) -> None:
    """Neither made nor believed."""
    with pytest.raises(IndexError):
        inclusion_path(LEAVES[:size], index)
    with pytest.raises(Malformed):
        root_from_path(b"", index, size, ())


def test_short_sibling_is_refused() -> None:
    """A sibling has 32 bytes: others would make two splits of one text alike."""
    with pytest.raises(Malformed):
        root_from_path(b"a", 0, 2, (b"short",))
