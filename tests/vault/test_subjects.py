# SPDX-License-Identifier: Apache-2.0
"""Names that lead to a person: local ids, handles, links."""

from __future__ import annotations

import pytest

from protocol.ids import NodeId
from protocol.location import LinkGrant
from tests.vault.world import HANDLE, NOW_MS, World, grant
from vault.errors import Conflict, MyNumberRefused, Rejected
from vault.keyring import SubjectId

MY_NUMBER = "1234 5678 9018"


def link(world: World, person: SubjectId, given: LinkGrant) -> None:
    """Link a subject."""
    world.write(lambda c: world.vault.subjects.link(c, person, given, NOW_MS))


def test_same_local_id_leads_to_the_same_person(world: World) -> None:
    """Also in full width and with blanks around it, and after a restart."""
    person = world.person("P-77")
    world.restart()
    assert world.person(" Ｐ-77 ") == person


def test_unknown_local_id_makes_nobody_when_only_looked_for(world: World) -> None:
    """Finding is not making."""
    find = world.vault.subjects.find_local
    assert world.read(lambda c: find(c, "P-77")) is None


def test_my_number_as_local_id_is_refused(world: World) -> None:
    """個人番号 is never an identifier."""
    for spelling in (MY_NUMBER, "1234-5678-9018", "１２３４５６７８９０１８"):
        with pytest.raises(MyNumberRefused):
            world.person(spelling)


@pytest.mark.parametrize("local_id", ["", "   ", "x" * 201])
def test_empty_or_endless_local_id_is_refused(world: World, local_id: str) -> None:
    """A name must lead somewhere."""
    with pytest.raises(Rejected):
        world.person(local_id)


def test_linked_person_is_found_by_handle(world: World) -> None:
    """This is how a ticket leads to records."""
    person = world.person()
    link(world, person, grant())
    world.restart()
    assert world.read(lambda c: world.vault.subjects.find_handle(c, HANDLE)) == person


def test_link_keeps_home_node_and_grant(world: World) -> None:
    """The directory is told under the newest grant; the first date stays."""
    person = world.person()
    link(world, person, grant())
    again = grant(home=NodeId("minato/hall"), token="newer")
    world.write(lambda c: world.vault.subjects.link(c, person, again, NOW_MS + 9))
    found = world.read(lambda c: world.vault.subjects.link_of(c, person))
    assert found is not None
    assert (found.grant, found.linked_ms) == (again, NOW_MS)
    assert world.read(lambda c: list(world.vault.subjects.links(c))) == [found]


def test_handle_of_another_person_is_a_conflict(world: World) -> None:
    """One handle, one person."""
    link(world, world.person("P-1"), grant())
    with pytest.raises(Conflict):
        link(world, world.person("P-2"), grant())


def test_second_handle_for_a_person_is_a_conflict(world: World) -> None:
    """Two residents cannot claim one patient number."""
    person = world.person()
    link(world, person, grant())
    with pytest.raises(Conflict):
        link(world, person, grant("k" * 43))


def test_unlinked_person_is_found_by_local_id_alone(world: World) -> None:
    """The organization still has its patient; the federation does not reach them."""
    person = world.person("P-1")
    link(world, person, grant())
    gone = world.write(lambda c: world.vault.subjects.unlink(c, person))
    assert gone == grant()
    assert world.read(lambda c: world.vault.subjects.find_handle(c, HANDLE)) is None
    assert world.read(lambda c: world.vault.subjects.link_of(c, person)) is None
    assert world.person("P-1") == person


def test_person_known_by_handle_alone_is_made_once(world: World) -> None:
    """Data may come by push before anybody links."""
    ensure = world.vault.subjects.ensure_handle
    person = world.write(lambda c: ensure(c, HANDLE, NOW_MS))
    assert world.write(lambda c: ensure(c, HANDLE, NOW_MS)) == person


def test_names_do_not_stand_on_the_disk(world: World) -> None:
    """Local id, handle, home and grant are canaries."""
    person = world.person("CANARY-PATIENT")
    handle = "CanaryHandle" + "h" * 31
    link(world, person, grant(handle, NodeId("canary/hall"), "canary-grant"))
    disk = world.bytes_on_disk()
    for canary in (b"CANARY-PATIENT", b"CanaryHandle", b"canary"):
        assert canary not in disk
    names = world.read(lambda c: world.vault.subjects.names(c, person, "local"))
    assert names == ("CANARY-PATIENT",)
