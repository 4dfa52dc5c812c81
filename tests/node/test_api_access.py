# SPDX-License-Identifier: Apache-2.0
"""Who may call what at a running node: applications, residents, the operator.

Generated from the route table. What a token lacks is in `tests.node.api`; here is what
must never pass for something else, and what ends at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.api.openapi import Endpoint
from node.clients import Scope
from tests.node.served import NODE, Served, serving


@pytest.fixture(scope="module")
def node() -> Iterator[Served]:
    """Return a served node."""
    with serving() as served:
        yield served


def _path(endpoint: Endpoint) -> str:
    return endpoint.path.format(
        id="x",
        name="health.checkup",
        label="x",
        city="x",
        account="x",
        agreement="x",
        exchange="x",
    )


def test_session_is_no_token(node: Served) -> None:
    """A resident has no scopes, whichever endpoint asks for one."""
    session = node.resident("hanako")
    for endpoint in node.endpoints():
        if endpoint.scope is None or endpoint.resident:
            continue
        answer = node.call(endpoint.method, _path(endpoint), headers=session)
        assert answer.status == 403, endpoint.path
        assert answer.problem()["code"] == "forbidden"


def test_token_is_no_session(node: Served) -> None:
    """An application with every scope is nobody's resident."""
    token = node.token(*Scope)
    residents_only = [e for e in node.endpoints() if e.resident and e.scope is None]
    assert len(residents_only) > 8
    for endpoint in residents_only:
        answer = node.call(endpoint.method, _path(endpoint), headers=token)
        assert answer.problem()["code"] == "forbidden", endpoint.path


def test_operator_is_no_resident(node: Served) -> None:
    """Who runs the node cannot consent in somebody's name."""
    for endpoint in node.endpoints():
        if endpoint.resident and endpoint.scope is None:
            answer = node.call(endpoint.method, _path(endpoint), operator=True)
            assert answer.problem()["code"] == "forbidden"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer " + "A" * 43,
        "Session " + "A" * 43,
        "Basic b3BlcmF0b3I6",
        "Bearer " + "A" * 100_000,
        "Bearer \u00fc",
    ],
)
def test_made_up_credentials_open_nothing(node: Served, header: str) -> None:
    """401, or no answer at all to a header that is too long."""
    sent = {"Authorization": header}
    answer = node.call("GET", "/v1/status", headers=sent)
    assert answer.status in (400, 401, 431)
    if answer.status == 401:
        assert answer.problem()["code"] == "unauthenticated"


def test_removed_application_is_out_at_once(node: Served) -> None:
    """Its tokens end with it."""
    made = node.call(
        "POST", "/v1/clients", {"id": "emr", "scopes": ["status:read"]}, operator=True
    )
    form = (
        "grant_type=client_credentials&client_id=emr"
        f"&client_secret={made.document['secret']}"
    )
    how = {"Content-Type": "application/x-www-form-urlencoded"}
    token = node.call("POST", "/oauth/token", data=form.encode(), headers=how)
    header = {"Authorization": f"Bearer {token.document['access_token']}"}
    assert node.call("GET", "/v1/status", headers=header).status == 200
    assert node.call("DELETE", "/v1/clients/emr", operator=True).status == 204
    assert node.call("GET", "/v1/status", headers=header).status == 401
    again = node.call("POST", "/oauth/token", data=form.encode(), headers=how)
    assert again.status == 401


def test_token_has_the_scopes_that_were_asked_for_and_no_more(node: Served) -> None:
    """Least rights, also below what the application may have."""
    made = node.call(
        "POST",
        "/v1/clients",
        {"id": "portal", "scopes": ["status:read", "records:read"]},
        operator=True,
    )
    how = {"Content-Type": "application/x-www-form-urlencoded"}
    secret = made.document["secret"]
    for scope, status in (("status:read", 200), ("records:read", 403)):
        form = (
            f"grant_type=client_credentials&client_id=portal&client_secret={secret}"
            f"&scope={scope}"
        )
        token = node.call("POST", "/oauth/token", data=form.encode(), headers=how)
        assert token.document["scope"] == scope
        header = {"Authorization": f"Bearer {token.document['access_token']}"}
        assert node.call("GET", "/v1/status", headers=header).status == status
    form = (
        f"grant_type=client_credentials&client_id=portal&client_secret={secret}"
        "&scope=admin"
    )
    beyond = node.call("POST", "/oauth/token", data=form.encode(), headers=how)
    assert (beyond.status, beyond.document["error"]) == (400, "invalid_scope")


def test_session_ends_with_signing_out(node: Served) -> None:
    """And opens nothing afterwards."""
    session = node.resident("taro-1")
    assert node.call("GET", "/v1/me/consents", headers=session).status == 200
    assert node.call("DELETE", "/v1/sessions", headers=session).status == 204
    assert node.call("GET", "/v1/me/consents", headers=session).status == 401


def test_password_alone_does_not_reach_what_needs_two_factors(node: Served) -> None:
    """A resident without the second factor in force proves no will at all."""
    body = {"login": "jiro-1", "password": "a long enough password", "name": "次郎"}
    assert node.call("POST", "/v1/residents", body, operator=True).status == 201
    signed_in = node.call(
        "POST", "/v1/sessions", {"login": "jiro-1", "password": body["password"]}
    )
    assert signed_in.document["level"] == 0
    header = {"Authorization": f"Session {signed_in.document['token']}"}
    code = node.call(
        "POST", "/v1/me/link-codes", {"holder": NODE}, headers=header
    ).document["code"]
    claim = {"home": NODE, "code": code, "subject": "J-1"}
    assert node.call("POST", "/v1/links", claim, operator=True).status == 201
    consent = {
        "recipients": ["hoshino/market"],
        "holders": [NODE],
        "scope": [{"dataset_type": "health.checkup"}],
        "purposes": ["treatment"],
        "ends": 4_000_000_000,
    }
    answer = node.call("POST", "/v1/me/consents", consent, headers=header)
    assert answer.problem()["code"] == "evidence-too-low"


def test_guessing_passwords_is_slowed_down(node: Served) -> None:
    """After ten failures the right password has to wait as well."""
    body = {"login": "saburo", "password": "a long enough password", "name": "三郎"}
    assert node.call("POST", "/v1/residents", body, operator=True).status == 201
    wrong = {"login": "saburo", "password": "a wrong one, but long"}
    codes = [
        node.call("POST", "/v1/sessions", wrong).problem()["code"] for _ in range(12)
    ]
    assert codes[0] == "unauthenticated"
    assert codes[-1] == "rate-limited"
    right = {"login": "saburo", "password": body["password"]}
    answer = node.call("POST", "/v1/sessions", right)
    assert answer.problem()["code"] == "rate-limited"
    assert answer.problem()["retry_after"] > 0
