# SPDX-License-Identifier: Apache-2.0
"""Link codes: used once, by the holder they are for, and not to be guessed."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from identity.errors import Conflict
from identity.linking import MAX_OPEN_CODES
from identity.tables import link_codes
from protocol.ids import NodeId
from protocol.location import LOCATION_GRANT, LinkGrant, LocationGrant
from protocol.membership import Credentials
from protocol.problem import Refusal
from protocol.signature import Received, SingleKey
from tests.identity.home import CLINIC, HALL, NURSERY, PHARMACY, Home
from tests.protocol.cities import NOW, signing

WRONG = "0000-0000-0000"


def redeem(
    home: Home, code: str, holder: NodeId = CLINIC, now: int = NOW
) -> LinkGrant | Refusal:
    """Redeem a code as a holder."""
    return home.linking.redeem(home.connection, code, holder, now=now)


def issue(home: Home, holder: NodeId = CLINIC) -> str:
    """Ask for a code as a fresh resident."""
    return home.linking.issue(home.connection, home.account(), holder, now=NOW)


def reason(outcome: LinkGrant | Refusal) -> str:
    """Return the code of a refusal, or `linked`."""
    return outcome.code if isinstance(outcome, Refusal) else "linked"


def test_code_gives_the_holder_its_handle_and_a_grant(home: Home) -> None:
    """The whole way; directories verify the grant by the home node's key."""
    account = home.account()
    code = home.linking.issue(home.connection, account, CLINIC, now=NOW)
    linked = redeem(home, code)
    assert isinstance(linked, LinkGrant)
    handle = home.residents.handle_at(home.connection, account, CLINIC)
    assert (linked.home, linked.handle) == (HALL, handle)
    grant = (
        Received.parse(linked.grant, LOCATION_GRANT)
        .verify(LocationGrant, SingleKey(HALL, signing(HALL).public))
        .body
    )
    assert (grant.aud, grant.holder) == ("hoshino", CLINIC)
    assert grant.locator == home.residents.locator_in(
        home.connection, account, CLINIC.city
    )
    assert grant.exp == NOW + 400 * 86_400
    assert home.residents.is_linked(home.connection, account, CLINIC)


def test_grant_for_a_holder_elsewhere_is_for_its_own_citys_directory(
    home: Home,
) -> None:
    """A locator of one city says nothing in another."""
    linked = redeem(home, issue(home, NURSERY), NURSERY)
    assert isinstance(linked, LinkGrant)
    claims = Received.parse(linked.grant, LOCATION_GRANT).peek(LocationGrant)
    assert claims.aud == "minato"


def test_home_nodes_credentials_travel_with_the_grant(home: Home) -> None:
    """So that the directory can verify it."""
    shown = Credentials(membership="m", operating="o")
    linked = home.linking.redeem(
        home.connection, issue(home), CLINIC, now=NOW, credentials=shown
    )
    assert isinstance(linked, LinkGrant)
    assert linked.credentials == shown


def test_code_can_be_read_aloud(home: Home) -> None:
    """Three groups of four, without letters that look like digits: 60 bits."""
    assert re.fullmatch(
        r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}", issue(home)
    )


@pytest.mark.parametrize("as_typed", [str.lower, lambda c: c.replace("-", " ")])
def test_code_may_be_typed_in_other_case_and_spacing(
    home: Home, as_typed: type[str]
) -> None:
    """People copy it from a screen."""
    assert reason(redeem(home, as_typed(issue(home)))) == "linked"


def test_lookalike_letters_are_read_as_digits(home: Home) -> None:
    """O is 0, I and L are 1; full-width letters count as well."""
    code = issue(home)
    typed = code.replace("0", "O").replace("1", "l").replace("-", "")
    wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in typed)
    assert reason(redeem(home, wide)) == "linked"


def test_code_works_once(home: Home) -> None:
    """Replay of a code that was overheard."""
    code = issue(home)
    assert reason(redeem(home, code)) == "linked"
    assert reason(redeem(home, code)) == "link-code-wrong"


def test_code_of_another_holder_is_wrong_and_stays_good(home: Home) -> None:
    """A holder that saw the code gets no handle, and cannot burn it either."""
    code = issue(home)
    assert reason(redeem(home, code, PHARMACY)) == "link-code-wrong"
    assert reason(redeem(home, code)) == "linked"


def test_code_ends_after_ten_minutes(home: Home) -> None:
    """To the second."""
    code = issue(home)
    assert reason(redeem(home, code, now=NOW + 600)) == "link-code-wrong"


def test_guessing_is_stopped(home: Home) -> None:
    """Twenty attempts an hour per holder, counted also when they fail."""
    code = issue(home)
    outcomes = [reason(redeem(home, WRONG)) for _ in range(20)]
    assert set(outcomes) == {"link-code-wrong"}
    assert reason(redeem(home, code)) == "rate-limited"
    assert reason(redeem(home, WRONG, PHARMACY)) == "link-code-wrong"


def test_unknown_ended_and_foreign_codes_look_alike(home: Home) -> None:
    """The holder learns nothing about codes that are not for it."""
    foreign = redeem(home, issue(home), PHARMACY)
    unknown = redeem(home, WRONG)
    assert foreign == unknown


def test_code_is_not_stored(home: Home) -> None:
    """Neither in clear nor as a hash that can be tried out without the key."""
    code = issue(home)
    rows = repr(home.connection.execute(select(link_codes)).all())
    assert code not in rows
    assert code.replace("-", "") not in rows
    assert "clinic" not in rows


def test_open_codes_of_an_account_are_bounded(home: Home) -> None:
    """More open codes would be more chances for a guess."""
    account = home.account()
    for _ in range(MAX_OPEN_CODES):
        home.linking.issue(home.connection, account, CLINIC, now=NOW)
    with pytest.raises(Conflict):
        home.linking.issue(home.connection, account, CLINIC, now=NOW)
    home.linking.issue(home.connection, account, CLINIC, now=NOW + 600)


def test_codes_of_a_deleted_account_are_void(home: Home) -> None:
    """Nobody is linked who is gone."""
    account = home.account()
    code = home.linking.issue(home.connection, account, CLINIC, now=NOW)
    home.accounts.delete(home.connection, account)
    assert reason(redeem(home, code)) == "link-code-wrong"


def test_unreadable_input_is_wrong(home: Home) -> None:
    """Whatever the counter typed."""
    for code in ("", "-" * 64, "葛飾", "\u0000"):
        assert reason(redeem(home, code)) == "link-code-wrong"
