# SPDX-License-Identifier: Apache-2.0
"""Names of a resident elsewhere, and who is linked."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from identity.accounts import Details
from identity.errors import Conflict, NotFound
from identity.residents import LinkState
from identity.tables import links, residents
from protocol.errors import CannotOpen
from protocol.ids import CityId
from tests.identity.home import CLINIC, NURSERY, PASSWORD, PHARMACY, Home
from tests.protocol.cities import NOW


def test_names_differ_at_every_party(home: Home) -> None:
    """No two organizations can tell that they mean the same person."""
    account = home.resident()
    handles = {
        home.residents.handle_at(home.connection, account, node)
        for node in (CLINIC, PHARMACY, NURSERY)
    }
    locators = {
        home.residents.locator_in(home.connection, account, CityId(city))
        for city in ("hoshino", "minato")
    }
    assert len(handles | locators) == 5


def test_name_at_one_party_stays_the_same(home: Home) -> None:
    """Else the holder would lose its resident."""
    account = home.resident()
    first, second = (
        home.residents.handle_at(home.connection, account, CLINIC) for _ in range(2)
    )
    assert first == second


def test_resident_key_is_never_replaced(home: Home) -> None:
    """All names would change."""
    account = home.account()
    with pytest.raises(Conflict):
        home.residents.create(home.connection, account)


def test_holder_finds_the_account_by_its_handle(home: Home) -> None:
    """For notices that a holder sends."""
    account = home.resident()
    handle = home.residents.handle_at(home.connection, account, CLINIC)
    assert home.residents.find(home.connection, CLINIC, handle) == account


def test_handle_of_another_holder_finds_nobody(home: Home) -> None:
    """Two holders that compare handles learn nothing here."""
    account = home.resident()
    handle = home.residents.handle_at(home.connection, account, CLINIC)
    assert home.residents.find(home.connection, PHARMACY, handle) is None


def test_unlinked_holder_is_not_linked_and_finds_nobody(home: Home) -> None:
    """The link ends, the name stays the same for a later link."""
    account = home.resident()
    before = home.residents.handle_at(home.connection, account, CLINIC)
    home.residents.unlink(home.connection, account, CLINIC)
    assert not home.residents.is_linked(home.connection, account, CLINIC)
    assert home.residents.find(home.connection, CLINIC, before) is None
    again = home.residents.link(home.connection, account, CLINIC, now=NOW + 5)
    assert again.handle == before
    assert home.residents.is_linked(home.connection, account, CLINIC)


def test_unlinking_what_is_not_linked_is_refused(home: Home) -> None:
    """The resident reads that nothing happened."""
    account = home.resident()
    with pytest.raises(NotFound):
        home.residents.unlink(home.connection, account, NURSERY)


def test_links_are_listed_with_their_state(home: Home) -> None:
    """The resident sees where the data is."""
    account = home.resident()
    home.residents.unlink(home.connection, account, PHARMACY)
    listed = home.residents.links(home.connection, account)
    assert [(link.holder, link.state) for link in listed] == [
        (CLINIC, LinkState.LINKED),
        (PHARMACY, LinkState.UNLINKED),
    ]


def test_one_residents_links_are_not_anothers(home: Home) -> None:
    """Each account sees its own."""
    home.resident("first")
    other = home.account("second")
    assert home.residents.links(home.connection, other) == ()
    assert not home.residents.is_linked(home.connection, other, CLINIC)


def test_row_of_a_link_shows_neither_holder_nor_handle(home: Home) -> None:
    """A stolen database does not tell who is whose patient."""
    account = home.resident()
    rows = repr(home.connection.execute(select(links)).all())
    handle = home.residents.handle_at(home.connection, account, CLINIC)
    assert "clinic" not in rows
    assert handle not in rows


def test_resident_key_moved_to_another_account_does_not_open(home: Home) -> None:
    """Nobody puts one person's names on another by swapping rows."""
    first, second = home.account("first"), home.account("second")
    sealed = select(residents.c.sealed).where(residents.c.account == first)
    home.connection.execute(
        update(residents)
        .where(residents.c.account == second)
        .values(sealed=home.connection.execute(sealed).scalar_one())
    )
    with pytest.raises(CannotOpen):
        home.residents.handle_at(home.connection, second, CLINIC)


def test_account_without_resident_key_has_no_names(home: Home) -> None:
    """An operator's account is no resident."""
    details = Details(login="officer")
    phc = home.accounts.hash_password(PASSWORD)
    account = home.accounts.create(home.connection, details, phc, now=NOW)
    with pytest.raises(NotFound):
        home.residents.handle_at(home.connection, account, CLINIC)


def test_unknown_account_has_no_names(home: Home) -> None:
    """Nothing is made up."""
    with pytest.raises(NotFound):
        home.residents.handle_at(home.connection, "x", CLINIC)
