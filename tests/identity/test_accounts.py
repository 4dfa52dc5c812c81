# SPDX-License-Identifier: Apache-2.0
"""Accounts: found by login, sealed, changed, suspended, erased."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, select, update

from identity.accounts import Accounts, AccountState, Details
from identity.errors import Conflict, NotFound
from identity.tables import accounts, links, residents, sessions
from protocol.errors import CannotOpen, Misuse
from tests.identity.home import CHEAP, EMAIL, LOGIN, NAME, PASSWORD, Chance, Home
from tests.protocol.cities import NOW, seed


def test_account_is_found_by_its_login(home: Home) -> None:
    """The plain way."""
    account = home.account()
    assert home.accounts.find(home.connection, LOGIN) == account
    assert home.accounts.details(home.connection, account).name == NAME


@pytest.mark.parametrize("typed", ["Hanako", " hanako ", "ｈａｎａｋｏ", "HANAKO"])
def test_case_width_and_spaces_of_a_login_do_not_matter(home: Home, typed: str) -> None:
    """Japanese keyboards send full-width letters."""
    account = home.account("hanako")
    assert home.accounts.find(home.connection, typed) == account


def test_taken_login_is_refused(home: Home) -> None:
    """Also in another spelling."""
    home.account("hanako")
    with pytest.raises(Conflict):
        home.account("HANAKO")


def test_unknown_login_finds_nobody(home: Home) -> None:
    """None, so that the caller goes on as if it existed."""
    assert home.accounts.find(home.connection, "nobody") is None


def test_details_are_replaced(home: Home) -> None:
    """A new login finds, the old one does not."""
    account = home.account("hanako")
    changed = Details(login="taro", name="Taro")
    home.accounts.change_details(home.connection, account, changed)
    assert home.accounts.find(home.connection, "taro") == account
    assert home.accounts.find(home.connection, "hanako") is None
    assert home.accounts.details(home.connection, account) == changed


def test_details_do_not_take_anothers_login(home: Home) -> None:
    """Else signing in would be a lottery."""
    home.account("hanako")
    other = home.account("taro")
    with pytest.raises(Conflict):
        home.accounts.change_details(
            home.connection, other, Details(login="hanako", name="Taro")
        )


def test_unknown_members_of_details_are_refused() -> None:
    """A mistake of the caller, not a place to hide things."""
    with pytest.raises(ValidationError):
        Details.model_validate({"login": "hanako", "my_number": "123456789012"})


def test_short_password_is_not_hashed(home: Home) -> None:
    """Ten characters at least."""
    with pytest.raises(Misuse):
        home.accounts.hash_password("short")


def test_two_hashes_of_one_password_differ(home: Home) -> None:
    """A fresh salt each time."""
    first, second = (home.accounts.hash_password(PASSWORD) for _ in range(2))
    assert first != second


def test_changing_the_password_ends_all_sessions(home: Home) -> None:
    """Whoever stole a session is out."""
    account = home.account()
    home.sessions.open(home.connection, account, "password", now=NOW)
    home.accounts.set_password(
        home.connection, account, home.accounts.hash_password("another password")
    )
    assert home.connection.execute(select(sessions)).all() == []


def test_suspended_account_can_be_resumed(home: Home) -> None:
    """Nothing is lost by a suspension."""
    account = home.account()
    home.accounts.suspend(home.connection, account)
    state = home.accounts.state(home.connection, account)
    assert state is AccountState.SUSPENDED
    home.accounts.resume(home.connection, account)
    assert home.accounts.state(home.connection, account) is AccountState.ACTIVE


def test_deleted_account_leaves_no_row_that_leads_to_it(home: Home) -> None:
    """Login, links and resident key go with it."""
    account = home.resident()
    home.accounts.delete(home.connection, account)
    for table in (accounts, links, residents):
        assert home.connection.execute(select(table)).all() == []
    with pytest.raises(NotFound):
        home.accounts.details(home.connection, account)


def test_what_was_sealed_for_a_deleted_account_stays_closed(home: Home) -> None:
    """Erasure destroys the key: also with all of the node's keys (DESIGN section 8)."""
    account = home.account()
    sealed = home.accounts.box(home.connection, account).seal(bytes(12), b"x", "y")
    home.accounts.delete(home.connection, account)
    again = home.account()
    with pytest.raises(CannotOpen):
        home.accounts.box(home.connection, again).open(sealed, "y")


def test_unknown_account_is_not_found(home: Home) -> None:
    """Each call says so."""
    for call in (
        lambda: home.accounts.details(home.connection, "x"),
        lambda: home.accounts.secrets(home.connection, "x"),
        lambda: home.accounts.suspend(home.connection, "x"),
        lambda: home.accounts.delete(home.connection, "x"),
        lambda: home.accounts.box(home.connection, "x"),
    ):
        with pytest.raises(NotFound):
            call()


def test_account_key_moved_to_another_account_does_not_open(home: Home) -> None:
    """Swapping rows in the database is noticed."""
    first, second = home.account("first"), home.account("second")
    row = home.connection.execute(
        select(accounts.c.wrapped_key).where(accounts.c.id == first)
    ).scalar_one()
    home.connection.execute(
        update(accounts).where(accounts.c.id == second).values(wrapped_key=row)
    )
    with pytest.raises(CannotOpen):
        home.accounts.details(home.connection, second)


def test_details_moved_to_another_account_do_not_open(home: Home) -> None:
    """Nobody puts one person's name into another's account."""
    first, second = home.account("first"), home.account("second")
    sealed = select(accounts.c.sealed_details).where(accounts.c.id == first)
    home.connection.execute(
        update(accounts)
        .where(accounts.c.id == second)
        .values(sealed_details=home.connection.execute(sealed).scalar_one())
    )
    with pytest.raises(CannotOpen):
        home.accounts.details(home.connection, second)


def test_accounts_do_not_open_under_another_identity_key(home: Home) -> None:
    """The stolen database alone is noise."""
    account = home.account()
    thief = Accounts(
        key=seed("thief", 32), index=seed("index", 32), entropy=Chance(), cost=CHEAP
    )
    with pytest.raises(CannotOpen):
        thief.details(home.connection, account)


def test_no_row_shows_who_it_is(home: Home) -> None:
    """Login, name, contact and password hash are sealed."""
    account = home.account()
    row = repr(home.connection.execute(select(accounts)).all())
    phc = home.accounts.secrets(home.connection, account).phc
    for secret in (LOGIN, NAME, EMAIL, PASSWORD, phc, "argon2id"):
        assert secret not in row


def test_connection_belongs_to_the_caller(connection: Connection) -> None:
    """A failed transaction takes the account back."""
    home = Home(connection)
    savepoint = connection.begin_nested()
    home.account()
    savepoint.rollback()
    assert home.accounts.find(connection, LOGIN) is None
