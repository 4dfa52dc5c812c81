# SPDX-License-Identifier: Apache-2.0
"""The sealed body: one tagged union, every member of it bounded."""

from typing import Any, get_args

import pytest

from protocol.canonical import canonical
from protocol.errors import Malformed, UnsupportedVersion
from protocol.request import Body, Query, Warrant
from tests.protocol.exchanges import CHECKUP, EXCHANGE, HOLDER, RECORDS, body

TOKEN = "a.b.c"
DIGEST = "A" * 43
SEALING = {"suite": "strict", "pub": "AAAA"}
CREDENTIALS = {"membership": TOKEN, "operating": TOKEN}
WARRANT = {"consent": TOKEN, "ticket": TOKEN}
RECORD = {"id": RECORDS[0], "dataset_type": CHECKUP, "version": 1, "content": "{}"}
PACKAGE = {"consent": TOKEN, "own_ticket": TOKEN, "holders": []}
QUERIES: dict[str, dict[str, Any]] = {
    "fetch": {
        "record": "urn:machikura:hoshino:clinic:0199c000-0000-7000-8000-00000000000a",
        "attachment": "0199c000-0000-7000-8000-00000000000b",
        "offset": 65536,
        "length": 1048576,
        "transfer": "0199c000-0000-7000-8000-00000000000c",
    },
    "read": {"warrant": WARRANT, "fields": ["date"], "records": [RECORDS[0]]},
    "push": {"warrant": WARRANT, "records": [RECORD]},
    "locate-locator": {"locator": DIGEST},
    "locate-handle": {"handle": DIGEST, "records": True},
    "consent-notice": {"package": PACKAGE},
    "revoke": {"withdrawal": TOKEN},
    "status-list": {"list": 3},
    "tickets": {"consent": "consent 1"},
    "member": {"node": HOLDER},
    "renew": {},
    "link-claim": {"code": "1234"},
    "location-grant": {"handle": DIGEST},
    "register-location": {"grant": TOKEN, "dataset_types": [CHECKUP]},
    "member-key": {"consent": "consent 1", "until": 1},
    "certify-key": {"consent": "c", "key": {}, "sealing": SEALING, "until": 1},
    "member-keys": {"after": 0},
    "taken": {"message": "0199c000-0000-7000-8000-00000000000d"},
    "hop-proof": {"request": "A" * 43, "chain": "{}\n", "all": True},
    "node-back": {"wait": "0199c000-0000-7000-8000-00000000000e"},
    "ping": {},
}


def packed(query: dict[str, Any], *, key: bytes = bytes(32)) -> bytes:
    """Return a body with that query, its warrant behind it."""
    asked = canonical({"query": {k: v for k, v in query.items() if k != "warrant"}})
    warrant = canonical(query["warrant"]) if "warrant" in query else b""
    return key + len(asked).to_bytes(4, "big") + asked + warrant


def decode(query: dict[str, Any]) -> Body:
    """Read a body with that query."""
    return Body.decode(packed(query))


@pytest.mark.parametrize("op", QUERIES)
def test_query_is_read_back(op: str) -> None:
    """Each member of the union, and only under its own name."""
    read = decode({"op": op, **QUERIES[op]})
    assert read.query.op == op
    assert Body.decode(read.encode()) == read


def test_every_query_has_an_example() -> None:
    """A new member of the union brings one along."""
    union = get_args(get_args(Query)[0])
    ops = {get_args(kind.model_fields["op"].annotation)[0] for kind in union}
    assert ops == set(QUERIES)


def test_whole_request_is_read_back() -> None:
    """With warrant and response key."""
    sent = body()
    assert Body.decode(sent.encode()) == sent


@pytest.mark.parametrize("op", ["", "READ", "a b", None, 1, ["read"], {}])
def test_query_whose_name_is_none_is_refused(op: object) -> None:
    """What cannot be a name is nobody's query."""
    with pytest.raises(Malformed):
        decode({"op": op})


def test_query_of_a_newer_protocol_is_refused_as_such() -> None:
    """It is not guessed at, and the asker learns which side is the older."""
    with pytest.raises(UnsupportedVersion, match="query"):
        decode({"op": "delete"})


def test_query_without_a_name_is_refused() -> None:
    """It might fit several."""
    with pytest.raises(Malformed):
        decode({})


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("read", {"limit": 0}),
        ("read", {"limit": 1001}),
        ("read", {"limit": True}),
        ("read", {"records": [RECORDS[0]] * 1001}),
        ("read", {"records": ["all"]}),
        ("read", {"warrant": {"consent": TOKEN}}),
        ("push", {"records": []}),
        ("push", {"records": [RECORD] * 1001}),
        ("push", {"records": [{**RECORD, "content": {"a": 1}}]}),
        ("push", {"records": [{**RECORD, "id": EXCHANGE}]}),
        ("push", {"records": [{**RECORD, "version": 0}]}),
        ("locate-locator", {"locator": "A" * 42}),
        ("locate-locator", {"locator": "123456789018"}),
        ("locate-handle", {"handle": "A" * 44}),
        ("status-list", {"list": -1}),
        ("tickets", {"consent": "c" * 513}),
        ("member", {"node": "hoshino"}),
        ("link-claim", {"code": "1" * 65}),
        ("register-location", {"dataset_types": ["a.b"] * 257}),
        ("register-location", {"dataset_types": ["*"]}),
        ("member-key", {"until": -1}),
        ("certify-key", {"key": {"x": 1}}),
        ("certify-key", {"sealing": {"suite": "none", "pub": ""}}),
        ("consent-notice", {"package": {**PACKAGE, "holders": [{}]}}),
        ("revoke", {"withdrawal": "a" * (256 * 1024 + 1)}),
    ],
)
def test_member_out_of_range_is_refused(op: str, change: dict[str, Any]) -> None:
    """Every list, number and text has its bound."""
    with pytest.raises(Malformed):
        decode({"op": op, **QUERIES[op], **change})


def test_warrant_stands_behind_the_query_only() -> None:
    """One place for it: a second one inside the query is refused."""
    inside = canonical({"query": {"op": "read", "warrant": WARRANT}})
    with pytest.raises(Malformed, match="behind the query"):
        Body.decode(bytes(32) + len(inside).to_bytes(4, "big") + inside)


def test_warrant_for_a_query_without_one_is_refused() -> None:
    """Nothing is carried along that nobody reads."""
    with pytest.raises(Malformed, match="takes none"):
        decode({"op": "ping", "warrant": WARRANT})


@pytest.mark.parametrize("size", range(0, 60, 7))
def test_truncated_body_is_refused(size: int) -> None:
    """Wherever it is cut."""
    with pytest.raises(Malformed):
        Body.decode(packed({"op": "ping"})[:size])


def test_changed_warrant_is_not_sent_as_it_was() -> None:
    """The bytes that are kept belong to the warrant that they were made from."""
    warrant = Warrant(consent=TOKEN, ticket=TOKEN)
    kept = warrant.encoded
    changed = warrant.model_copy(update={"ticket": "d.e.f"})
    assert changed.encoded != kept
    assert Warrant.decode(changed.encoded) == changed
