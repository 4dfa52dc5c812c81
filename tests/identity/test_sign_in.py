# SPDX-License-Identifier: Apache-2.0
"""Signing in, guessing, and being locked out by others."""

from __future__ import annotations

import pytest

from identity.errors import Unauthenticated
from identity.sessions import SignedIn
from identity.sign_in import Attempt
from identity.totp import STEP_S, code_at
from protocol.problem import Refusal
from tests.identity.home import LOGIN, PASSWORD, Home
from tests.protocol.cities import NOW

HOME_ADDRESS = "192.0.2.1"


def try_once(
    home: Home,
    *,
    login: str = LOGIN,
    password: str = PASSWORD,
    code: str | None = None,
    source: str = HOME_ADDRESS,
    now: int = NOW,
) -> SignedIn | Refusal:
    """Go through the door as the portal does."""
    attempt = home.sign_in.begin(home.connection, login=login, source=source, now=now)
    if isinstance(attempt, Refusal):
        return attempt
    fits = attempt.check(password)
    return home.sign_in.finish(home.connection, attempt, fits, code, now=now)


def reason(outcome: SignedIn | Refusal) -> str:
    """Return the code of a refusal, or `in`."""
    return outcome.code if isinstance(outcome, Refusal) else "in"


def test_password_opens_a_session_without_evidence(home: Home) -> None:
    """Until a second factor is set up."""
    home.account()
    outcome = try_once(home)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.level == 0


def test_both_factors_open_a_session_of_level_two(home: Home) -> None:
    """The usual way."""
    secret = home.set_up_factor(home.account())
    later = NOW + STEP_S
    outcome = try_once(home, code=code_at(secret, later), now=later)
    assert isinstance(outcome, SignedIn)
    assert outcome.session.level == 2
    session = home.sessions.resolve(home.connection, outcome.token, now=later)
    assert session.method == "password+totp"


def test_factor_that_is_set_up_cannot_be_left_out(home: Home) -> None:
    """Leaving it out is not a way around it."""
    home.set_up_factor(home.account())
    for code in (None, "", "000000"):
        assert reason(try_once(home, code=code)) == "unauthenticated"


def test_code_does_not_sign_in_twice(home: Home) -> None:
    """Replay of password and code together."""
    secret = home.set_up_factor(home.account())
    later = NOW + STEP_S
    code = code_at(secret, later)
    assert reason(try_once(home, code=code, now=later)) == "in"
    assert reason(try_once(home, code=code, now=later)) == "unauthenticated"


def test_all_failures_look_alike(home: Home) -> None:
    """Nobody learns which logins exist, which are suspended, which factor failed."""
    home.set_up_factor(home.account())
    home.accounts.suspend(home.connection, home.account("suspended"))
    outcomes = {
        try_once(home, login="nobody"),
        try_once(home, password="wrong password"),
        try_once(home, code="000000"),
        try_once(home, login="suspended"),
    }
    assert len(outcomes) == 1


def test_unknown_login_costs_the_same_work(home: Home) -> None:
    """The hash that is checked has the same cost, so time does not tell."""
    home.account()
    known, unknown = (
        home.sign_in.begin(home.connection, login=login, source="a", now=NOW)
        for login in (LOGIN, "nobody")
    )
    assert isinstance(known, Attempt)
    assert isinstance(unknown, Attempt)
    assert unknown.phc.split("$")[:4] == known.phc.split("$")[:4]
    assert not unknown.check(PASSWORD)


def test_attempt_does_not_show_whether_the_login_exists(home: Home) -> None:
    """Not even in a log line."""
    home.account()
    attempt = home.sign_in.begin(home.connection, login=LOGIN, source="a", now=NOW)
    assert "account" not in repr(attempt)
    assert "argon2" not in repr(attempt)


def test_guessing_from_one_place_is_stopped(home: Home) -> None:
    """Five attempts, then wait."""
    home.account()
    for _ in range(5):
        assert reason(try_once(home, password="wrong password")) == "unauthenticated"
    outcome = try_once(home)
    assert isinstance(outcome, Refusal)
    assert outcome.code == "rate-limited"
    assert outcome.retry_after_ms == 900_000


@pytest.mark.parametrize("spelling", ["{0}", " {0}", "{0} "])
def test_spelling_the_login_otherwise_does_not_reset_the_count(
    home: Home, spelling: str
) -> None:
    """Counted in the form in which it is looked up."""
    home.account()
    for _ in range(5):
        try_once(home, password="wrong password")
    assert reason(try_once(home, login=spelling.format(LOGIN.upper()))) == (
        "rate-limited"
    )


def test_window_ends_and_the_owner_gets_in(home: Home) -> None:
    """Nobody is locked out for ever."""
    home.account()
    for _ in range(9):
        try_once(home, password="wrong password")
    assert reason(try_once(home, now=NOW + 900)) == "in"


def test_success_clears_the_owners_typing_errors(home: Home) -> None:
    """Four errors a day do not add up."""
    home.account()
    for _ in range(3):
        for _ in range(4):
            try_once(home, password="wrong password")
        assert reason(try_once(home)) == "in"


def test_guessing_from_many_places_is_stopped(home: Home) -> None:
    """The limit per login over all sources that are new to it."""
    home.account()
    outcomes = [
        reason(try_once(home, password="wrong password", source=f"bot-{n}"))
        for n in range(40)
    ]
    assert outcomes.count("unauthenticated") == 30
    assert outcomes[-1] == "rate-limited"


def test_attack_from_many_places_does_not_lock_the_owner_out(home: Home) -> None:
    """Where the owner has signed in before, the door stays open."""
    home.account()
    assert reason(try_once(home)) == "in"
    for number in range(40):
        try_once(home, password="wrong password", source=f"bot-{number}")
    assert reason(try_once(home, source="new place")) == "rate-limited"
    assert reason(try_once(home)) == "in"


def test_trying_many_logins_from_one_place_is_stopped(home: Home) -> None:
    """One common password tried on everybody."""
    outcomes = [reason(try_once(home, login=f"person-{n}")) for n in range(60)]
    assert outcomes.count("unauthenticated") == 50
    assert outcomes[-1] == "rate-limited"


def test_parallel_guesses_all_count(home: Home) -> None:
    """Counting at the end would let a thousand through at once."""
    home.account()
    begun = [
        home.sign_in.begin(home.connection, login=LOGIN, source="a", now=NOW)
        for _ in range(8)
    ]
    assert sum(isinstance(attempt, Attempt) for attempt in begun) == 5


def test_password_changed_during_an_attempt_counts(home: Home) -> None:
    """The old password must not slip in while its hash is being judged."""
    account = home.account()
    attempt = home.sign_in.begin(home.connection, login=LOGIN, source="a", now=NOW)
    assert isinstance(attempt, Attempt)
    changed = home.accounts.hash_password("another password")
    home.accounts.set_password(home.connection, account, changed)
    outcome = home.sign_in.finish(
        home.connection, attempt, attempt.check(PASSWORD), None, now=NOW
    )
    assert reason(outcome) == "unauthenticated"


def test_step_up_exchanges_the_session(home: Home) -> None:
    """After setting up the second factor in the portal."""
    account = home.account()
    first = try_once(home)
    assert isinstance(first, SignedIn)
    secret = home.set_up_factor(account)
    later = NOW + STEP_S
    second = home.sign_in.step_up(
        home.connection, first.token, code_at(secret, later), now=later
    )
    assert isinstance(second, SignedIn)
    assert second.session.level == 2


def test_old_token_ends_with_a_step_up(home: Home) -> None:
    """A copy of it must not rise with it."""
    account = home.account()
    first = try_once(home)
    assert isinstance(first, SignedIn)
    secret = home.set_up_factor(account)
    later = NOW + STEP_S
    home.sign_in.step_up(
        home.connection, first.token, code_at(secret, later), now=later
    )
    with pytest.raises(Unauthenticated):
        home.sessions.resolve(home.connection, first.token, now=later)


def test_guessing_codes_in_a_stolen_session_is_stopped(home: Home) -> None:
    """A million codes, five attempts a quarter of an hour."""
    account = home.account()
    first = try_once(home)
    assert isinstance(first, SignedIn)
    home.set_up_factor(account)
    outcomes = [
        home.sign_in.step_up(home.connection, first.token, "000000", now=NOW)
        for _ in range(6)
    ]
    assert [reason(o) for o in outcomes[4:]] == ["unauthenticated", "rate-limited"]
