# SPDX-License-Identifier: Apache-2.0
"""Sessions: opened, resolved, ended; and what they prove."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from identity.errors import EvidenceTooLow, Unauthenticated
from identity.sessions import BOTH, PASSWORD, SignedIn, assisted
from identity.tables import sessions
from tests.identity.home import Home
from tests.protocol.cities import NOW


def opened(home: Home, method: str = BOTH) -> SignedIn:
    """Open a session of a fresh account."""
    account = home.account()
    return home.sessions.open(home.connection, account, method, now=NOW)


def test_token_resolves_to_its_session(home: Home) -> None:
    """The plain way."""
    signed_in = opened(home)
    session = home.sessions.resolve(home.connection, signed_in.token, now=NOW)
    assert session == signed_in.session


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "\ud800"])
def test_unknown_token_resolves_to_nothing(home: Home, token: str) -> None:
    """Whatever is sent."""
    opened(home)
    with pytest.raises(Unauthenticated):
        home.sessions.resolve(home.connection, token, now=NOW)


def test_session_ends_with_its_time(home: Home) -> None:
    """To the second."""
    signed_in = opened(home)
    ends = signed_in.session.ends
    home.sessions.resolve(home.connection, signed_in.token, now=ends - 1)
    with pytest.raises(Unauthenticated):
        home.sessions.resolve(home.connection, signed_in.token, now=ends)


def test_signing_out_ends_the_session(home: Home) -> None:
    """At the server, not only in the browser."""
    signed_in = opened(home)
    home.sessions.end(home.connection, signed_in.token)
    with pytest.raises(Unauthenticated):
        home.sessions.resolve(home.connection, signed_in.token, now=NOW)


def test_all_sessions_end_together(home: Home) -> None:
    """After a lost phone."""
    signed_in = opened(home)
    home.sessions.end_all(home.connection, signed_in.session.account)
    with pytest.raises(Unauthenticated):
        home.sessions.resolve(home.connection, signed_in.token, now=NOW)


def test_suspension_ends_sessions_at_once(home: Home) -> None:
    """Also one that a second process opens at the same moment."""
    signed_in = opened(home)
    home.accounts.suspend(home.connection, signed_in.session.account)
    late = home.sessions.open(home.connection, signed_in.session.account, BOTH, now=NOW)
    for token in (signed_in.token, late.token):
        with pytest.raises(Unauthenticated):
            home.sessions.resolve(home.connection, token, now=NOW)


def test_token_is_not_stored(home: Home) -> None:
    """A stolen database opens no session."""
    signed_in = opened(home)
    row = repr(home.connection.execute(select(sessions)).all())
    assert signed_in.token not in row
    assert signed_in.token not in repr(signed_in)


def test_both_factors_are_evidence_of_level_two(home: Home) -> None:
    """DESIGN section 7."""
    evidence = opened(home).session.evidence()
    assert (evidence.level, evidence.method) == (2, "password+totp")
    assert evidence.officer is None


def test_password_alone_is_no_evidence(home: Home) -> None:
    """Enough to look and to withdraw, not to consent."""
    with pytest.raises(EvidenceTooLow):
        opened(home, PASSWORD).session.evidence()


def test_counter_is_evidence_of_level_one_with_the_officers_name() -> None:
    """Somebody answers for it."""
    evidence = assisted("officer-7")
    assert (evidence.level, evidence.officer) == (1, "officer-7")


def test_ended_sessions_are_forgotten(home: Home) -> None:
    """The table stays small."""
    signed_in = opened(home)
    home.sessions.forget(home.connection, before=signed_in.session.ends + 1)
    assert home.connection.execute(select(sessions)).all() == []
