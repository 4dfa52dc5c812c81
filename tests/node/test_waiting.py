# SPDX-License-Identifier: Apache-2.0
"""Which holder of a later package is the one that is waited for."""

from __future__ import annotations

import pytest

from node.reader import Asked
from protocol.ids import CityId, NodeId
from protocol.request import HolderTicket
from protocol.signature import digest_of
from vault.errors import NotFound

HOSHINO = CityId("hoshino")


def _open(node: str) -> HolderTicket:
    return HolderTicket(city="hoshino", ticket="t", node=NodeId(node), membership="m")


def _hidden(key: str, city: str = "hoshino") -> HolderTicket:
    return HolderTicket(city=city, ticket="t", token="t", member_key=key)


def _key(key: str) -> str:
    return digest_of(key.encode())


def test_named_holder_is_found_by_its_name_wherever_it_stands() -> None:
    """Another version of the consent may list it elsewhere."""
    asked = Asked(0, HOSHINO, NodeId("hoshino/b"))
    a, b = _open("hoshino/a"), _open("hoshino/b")
    assert asked.ticket((a, b)) is b
    with pytest.raises(NotFound):
        asked.ticket((a, _hidden("k")))


def test_hidden_holder_is_found_by_its_key_while_the_key_lasts() -> None:
    """Hidden holders stand in no order, so the place tells nothing."""
    asked = Asked(0, HOSHINO, None, _key("two"))
    one, two = _hidden("one"), _hidden("two")
    assert asked.ticket((one, two)) is two


def test_only_hidden_holder_of_a_city_is_found_under_fresh_keys() -> None:
    """There is nobody that it could be mixed up with."""
    asked = Asked(0, HOSHINO, None, _key("old"))
    elsewhere, fresh = _hidden("x", "minato"), _hidden("fresh")
    assert asked.ticket((elsewhere, _open("hoshino/a"), fresh)) is fresh


def test_one_of_several_hidden_holders_is_not_guessed() -> None:
    """Under fresh keys nobody can tell: one would be asked twice, another never."""
    asked = Asked(1, HOSHINO, None, _key("old"))
    with pytest.raises(NotFound):
        asked.ticket((_hidden("one"), _hidden("two")))
