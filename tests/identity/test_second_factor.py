# SPDX-License-Identifier: Apache-2.0
"""Second factors: confirmed before they count, each code used once."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from identity.tables import accounts
from identity.totp import STEP_S, code_at
from protocol.errors import Misuse
from tests.identity.home import Home
from tests.protocol.cities import NOW


def test_confirmed_factor_accepts_the_next_code(home: Home) -> None:
    """The plain way."""
    account = home.account()
    secret = home.set_up_factor(account)
    later = NOW + STEP_S
    code = code_at(secret, later)
    assert home.factor.is_set_up(home.connection, account)
    assert home.factor.use(home.connection, account, code, now=later)


def test_unconfirmed_factor_does_not_count(home: Home) -> None:
    """An app that did not scan must not lock its owner out."""
    account = home.account()
    secret = home.factor.begin(home.connection, account)
    assert not home.factor.is_set_up(home.connection, account)
    code = code_at(secret, NOW)
    assert not home.factor.use(home.connection, account, code, now=NOW)


def test_wrong_code_does_not_confirm(home: Home) -> None:
    """The owner learns it before the factor is needed."""
    account = home.account()
    home.factor.begin(home.connection, account)
    with pytest.raises(Misuse):
        home.factor.confirm(home.connection, account, "000000", now=NOW)
    assert not home.factor.is_set_up(home.connection, account)


def test_confirming_without_beginning_is_refused(home: Home) -> None:
    """There is no secret to confirm."""
    with pytest.raises(Misuse):
        home.factor.confirm(home.connection, home.account(), "000000", now=NOW)


def test_code_works_once(home: Home) -> None:
    """Replay: a code that was looked at or logged is worthless."""
    account = home.account()
    secret = home.set_up_factor(account)
    code, later = code_at(secret, NOW + STEP_S), NOW + STEP_S
    assert home.factor.use(home.connection, account, code, now=later)
    assert not home.factor.use(home.connection, account, code, now=later + 5)


def test_code_that_confirmed_does_not_sign_in(home: Home) -> None:
    """It was shown on the same screen."""
    account = home.account()
    secret = home.set_up_factor(account)
    assert not home.factor.use(home.connection, account, code_at(secret, NOW), now=NOW)


def test_code_older_than_a_used_one_does_not_work(home: Home) -> None:
    """Out of order would be a replay of what was missed."""
    account = home.account()
    secret = home.set_up_factor(account, NOW - 10 * STEP_S)
    newer, older = code_at(secret, NOW), code_at(secret, NOW - STEP_S)
    assert home.factor.use(home.connection, account, newer, now=NOW)
    assert not home.factor.use(home.connection, account, older, now=NOW)


def test_code_used_by_another_process_meanwhile_does_not_work(home: Home) -> None:
    """The row decides, not what was read before."""
    account = home.account()
    secret = home.set_up_factor(account)
    later = NOW + STEP_S
    home.connection.execute(update(accounts).values(totp_step=later // STEP_S))
    code = code_at(secret, later)
    assert not home.factor.use(home.connection, account, code, now=later)


def test_new_factor_does_not_replace_the_old_before_it_is_confirmed(
    home: Home,
) -> None:
    """A half-done change leaves the owner with what works."""
    account = home.account()
    secret = home.set_up_factor(account)
    home.factor.begin(home.connection, account)
    later = NOW + STEP_S
    code = code_at(secret, later)
    assert home.factor.use(home.connection, account, code, now=later)
