# SPDX-License-Identifier: Apache-2.0
"""A node's key pairs by generation: made, used, kept for an overlap, destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import NotFound
from identity.keys import KeyStore, MasterKey
from identity.node_keys import NodeKeys
from protocol.errors import CannotOpen, WrongAudience
from protocol.membership import EarlierKey, Membership
from protocol.suites import Suite
from tests.identity.home import Chance
from tests.protocol.cities import HOSHINO, NOW

DAY = 86_400


def store(folder: Path) -> KeyStore:
    """Return a store on the files in a folder, as after a restart."""
    return KeyStore(folder, MasterKey(bytes(32)), entropy=Chance(str(folder)))


def first(folder: Path) -> NodeKeys:
    """Return the keys of a new node."""
    made = store(folder)
    made.create_signing("node", Suite.HYBRID)
    made.create_opening("sealing", Suite.HYBRID)
    return NodeKeys(made, "node", "sealing")


def membership(
    keys: NodeKeys, generation: int, overlap: tuple[int, ...] = ()
) -> Membership:
    """Return a membership that names one pair, and others in overlap for a day."""
    pair = {p.generation: p for p in (*keys.pairs, keys.newest)}
    earlier = tuple(
        EarlierKey(
            key=pair[number].signer.public.jwk,
            since=NOW - DAY,
            replaced=NOW,
            until=NOW + DAY,
        )
        for number in overlap
    )
    found = HOSHINO.member("clinic")
    key = pair[generation].signer.public.jwk
    return found.model_copy(update={"key": key, "earlier": earlier})


def test_new_pair_is_kept_and_not_used_before_the_city_names_it(tmp_path: Path) -> None:
    """A crash between the two loses nothing, and asks with the same keys again."""
    keys = first(tmp_path)
    made = keys.fresh(Suite.HYBRID)
    assert keys.present.generation == 1
    again = NodeKeys(store(tmp_path), "node", "sealing")
    assert again.present.generation == 1
    assert again.fresh(Suite.HYBRID).signer.public == made.signer.public


def test_what_was_sealed_to_the_old_pair_opens_in_the_overlap(tmp_path: Path) -> None:
    """Requests and tickets that were on their way."""
    keys = first(tmp_path)
    old = keys.opening.public
    keys.fresh(Suite.HYBRID)
    keys.use(membership(keys, 2, overlap=(1,)), NOW)
    assert keys.signer.public == keys.newest.signer.public
    assert [pair.generation for pair in keys.pairs] == [2, 1]
    assert keys.opening.open("test", b"", old.seal("test", b"", b"x")) == b"x"
    new = keys.opening.public
    assert keys.opening.open("test", b"", new.seal("test", b"", b"y")) == b"y"


def test_old_pair_is_destroyed_after_the_overlap(tmp_path: Path) -> None:
    """On disk and in memory: who steals the node later cannot open old letters."""
    keys = first(tmp_path)
    sealed = keys.opening.public.seal("test", b"", b"x")
    keys.fresh(Suite.HYBRID)
    keys.use(membership(keys, 2, overlap=(1,)), NOW)
    keys.use(membership(keys, 2, overlap=(1,)), NOW + DAY)
    assert store(tmp_path).names() == ("node-2", "sealing-2")
    with pytest.raises(CannotOpen):
        keys.opening.open("test", b"", sealed)


def test_pair_that_the_city_revoked_is_destroyed_at_once(tmp_path: Path) -> None:
    """The membership after a revocation knows no overlap."""
    keys = first(tmp_path)
    keys.fresh(Suite.HYBRID)
    keys.use(membership(keys, 2), NOW)
    assert store(tmp_path).names() == ("node-2", "sealing-2")


def test_membership_for_a_strange_key_is_refused(tmp_path: Path) -> None:
    """Nothing is destroyed for it."""
    keys = first(tmp_path)
    with pytest.raises(WrongAudience):
        keys.use(HOSHINO.member("clinic"), NOW)
    assert store(tmp_path).names() == ("node", "sealing")


def test_half_a_pair_is_none(tmp_path: Path) -> None:
    """A crash between the two files of a new pair."""
    keys = first(tmp_path)
    store(tmp_path).create_signing("node-2", Suite.HYBRID)
    again = NodeKeys(store(tmp_path), "node", "sealing")
    assert again.newest.generation == 1
    assert again.fresh(Suite.HYBRID).generation == 3
    assert keys.present.generation == 1


def test_algorithms_change_with_the_keys(tmp_path: Path) -> None:
    """A pair of another suite that nobody has certified is left behind."""
    keys = first(tmp_path)
    keys.fresh(Suite.HYBRID)
    strict = keys.fresh(Suite.STRICT)
    assert (strict.generation, strict.signer.suite) == (3, Suite.STRICT)


def test_folder_without_keys_is_refused(tmp_path: Path) -> None:
    """Keys never appear by themselves."""
    with pytest.raises(NotFound):
        NodeKeys(store(tmp_path), "node", "sealing")
