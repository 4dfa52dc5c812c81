# SPDX-License-Identifier: Apache-2.0
"""Merkle trees after RFC 6962, section 2.1, and RFC 9162, section 2.1 (pure).

    top = root(leaves)
    path = inclusion_path(leaves, 3)
    assert root_from_path(leaves[3], 3, len(leaves), path) == top

A leaf is hashed behind 0x00 and a node behind 0x01, so that no node passes as a leaf. A
tree of n leaves splits at the largest power of two below n. One root commits its maker
to every leaf and to their order; a path of at most log2(n) digests shows one of them
and tells nothing readable about the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protocol.errors import Malformed

HASH_BYTES = 32
MAX_PATH = 64
"""No tree that fits into memory has a longer path."""

_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return _sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return _sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaves in their order; SHA-256 of nothing for none."""
    if not leaves:
        return _sha256(b"").digest()
    level = [_sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the siblings from a leaf up to the root, the lowest first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of {len(leaves)}")
    level = [_sha256(b"\x00" + leaf).digest() for leaf in leaves]
    path = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _parents(level)
        index >>= 1
    return tuple(path)


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a leaf and its path lead to (RFC 9162, section 2.1.3.2).

    The caller MUST compare it with a root that the tree's maker signed, together with
    `size`.

    Args:
        leaf: the leaf itself, not its hash.
        index: its place, from 0.
        size: leaves in the tree.
        path: siblings, the lowest first, 32 bytes each.

    Raises:
        Malformed: the path does not have the length that place and size ask for.
    """
    if not 0 <= index < size or len(path) > MAX_PATH:
        raise Malformed("no such leaf in a tree of that size")
    place, last = index, size - 1
    found = leaf_hash(leaf)
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise Malformed("the path does not fit the tree")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        place >>= 1
        last >>= 1
    if last:
        raise Malformed("the path does not fit the tree")
    return found


def _parents(level: list[bytes]) -> list[bytes]:
    """Return the level above; a last one without sibling moves up as it is."""
    pairs = zip(level[::2], level[1::2], strict=False)
    above = [_sha256(b"\x01" + left + right).digest() for left, right in pairs]
    if len(level) & 1:
        above.append(level[-1])
    return above
