# SPDX-License-Identifier: Apache-2.0
"""Our own vectors, as other implementations read them, hold here too.

What is tested is the committed file: a change of the wire shows as a failure, also
where both ends changed alike.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol import hop
from protocol.agreement import Agreement
from protocol.canonical import b64url, canonical, unb64url
from protocol.consent import CONSENT, Consent, Operation, open_ticket
from protocol.dataset import DatasetType
from protocol.decision import Case, Deny, Freshness, HolderPolicy, decide
from protocol.envelope import Envelope
from protocol.errors import ProtocolViolation
from protocol.ids import CityId, NodeId, PurposeName, RecordId
from protocol.location import open_token
from protocol.membership import DataClass, Membership
from protocol.pseudonym import commitment, handle, locator
from protocol.sealed import OpeningKey
from protocol.session import HolderSession
from protocol.signature import Received, SingleKey
from protocol.status import Status, StatusList
from protocol.suites import Suite, VerifyingKey
from tests.protocol.exchanges import status_list

FOLDER = Path(__file__).resolve().parents[1] / "vectors"
Given = dict[str, Any]


def _opening(given: Given) -> OpeningKey:
    key = given["opening_key"]
    return OpeningKey(Suite(key["suite"]), bytes.fromhex(key["seed"]))


def _only(owner: str, jwk: dict[str, str]) -> SingleKey:
    return SingleKey(owner, VerifyingKey.from_jwk(jwk))


def envelope(given: Given) -> object:
    """Verify and open a request."""
    arrived = Envelope.unpack(unb64url(given["envelope"]), given["max_bytes"])
    arrived.verify(_only(given["sender"], given["sender_jwk"]))
    hop.parse(arrived.hops, arrived.digest)
    session = HolderSession.accept(_opening(given), arrived.parts[0])
    opened = arrived.open(session)
    return {"header": json.loads(arrived.received.payload), "body": b64url(opened)}


def consent(given: Given) -> object:
    """Verify a consent and open its ticket."""
    keys = _only(given["home"], given["home_jwk"])
    body = Received.parse(given["consent"], CONSENT).verify(Consent, keys).body
    opened = open_ticket(given["ticket"], _opening(given), NodeId(given["party"]), body)
    return {"handle": opened.handle}


def _names(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def decision(given: Given) -> object:
    """Decide a case; members that are not given are those of the first case."""
    whole = {**_first_decision(), **given}
    policy, purpose, records = whole["policy"], whole["purpose"], whole["records"]
    revoked, data_class, agreed = (
        whole[name] for name in ("revoked", "data_class", "consent")
    )
    decided = decide(
        Case(
            now=whole["now"],
            holder=NodeId(whole["holder"]),
            recipient=Membership.decode(canonical(whole["recipient"])),
            dataset=DatasetType.model_validate_json(canonical(whole["dataset"])),
            purpose=None if purpose is None else PurposeName(purpose),
            data_class=None if data_class is None else DataClass(data_class),
            consent=None if agreed is None else Consent.decode(canonical(agreed)),
            freshness=Freshness(
                proof=whole["proof"] and StatusList.decode(canonical(whole["proof"])),
                max_age_s=whole["max_age_s"],
                skew_s=whole["skew_s"],
                revoked=None if revoked is None else Status(revoked),
                newest_version=whole["newest_version"],
            ),
            subject_bound=whole["subject_bound"],
            fields=_names(whole["fields"]),
            records=None if records is None else frozenset(map(RecordId, records)),
            operation=Operation(whole["operation"]),
            policy=HolderPolicy(
                shared=policy["shared"],
                purposes=policy["purposes"]
                and frozenset(map(PurposeName, policy["purposes"])),
                withheld_fields=frozenset(policy["withheld_fields"]),
                refused=frozenset(map(NodeId, policy["refused"])),
            ),
            hidden=whole["hidden"],
        )
    )
    if isinstance(decided, Deny):
        return decided
    return {
        "fields": sorted(decided.fields),
        "records": None if decided.records is None else sorted(decided.records),
        "cut": {clause: list(fields) for clause, fields in decided.cut.items()},
    }


def _first_decision() -> Given:
    first: Given = cases("decision")[0]["input"]
    return first


def hops(given: Given) -> object:
    """Check a chain of hop records."""
    records = hop.parse(given["hops"].encode(), given["header_digest"])
    return {"by": [str(record.by) for record in records]}


def read_status(given: Given) -> object:
    """Read one state."""
    return int(status_list(lst=given["lst"]).status(given["index"]))


def location_token(given: Given) -> object:
    """Open a location token."""
    key = _opening(given)
    body = open_token(given["token"], CityId(given["city"]), key, given["now"])
    return json.loads(body.encode())


def agreement(given: Given) -> object:
    """Verify an agreement."""
    read = Agreement.parse(given["file"].encode())
    signed_by = [str(city) for city in read.signed_by]
    return {"signed_by": signed_by, "in_force": read.in_force(given["now"])}


def pseudonym(given: Given) -> object:
    """Derive the names of a resident."""
    key, node = bytes.fromhex(given["resident_key"]), NodeId(given["node"])
    name = handle(key, node)
    return {
        "handle": name,
        "locator": locator(key, CityId(given["city"])),
        "commitment": commitment(bytes.fromhex(given["salt"]), node, name),
    }


READERS: dict[str, Callable[[Given], object]] = {
    "agreement": agreement,
    "consent": consent,
    "decision": decision,
    "envelope": envelope,
    "hops": hops,
    "location_token": location_token,
    "pseudonym": pseudonym,
    "status_list": read_status,
}


def cases(name: str) -> list[dict[str, Any]]:
    """Return the cases of a file."""
    whole = json.loads((FOLDER / f"{name}.json").read_bytes())
    found: list[dict[str, Any]] = whole["cases"]
    return found


def outcome(name: str, given: Given) -> dict[str, object]:
    """Return what the implementation makes of an input."""
    try:
        result = READERS[name](given)
    except ProtocolViolation as fault:
        return {"failure": fault.slug}
    if isinstance(result, Deny):
        return {"failure": result.reason}
    return {"result": result}


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}: {case['name']}")
        for name in READERS
        for case in cases(name)
    ],
)
def test_vector_has_its_expected_outcome(name: str, case: dict[str, Any]) -> None:
    """Result or failure, as written in the file."""
    expected = {k: case[k] for k in ("result", "failure") if k in case}
    assert len(expected) == 1
    assert outcome(name, case["input"]) == expected


def test_every_file_has_a_reader() -> None:
    """A new file is not left out."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_names_of_cases_are_unique(name: str) -> None:
    """Whoever reports a difference can name it."""
    names = [case["name"] for case in cases(name)]
    assert sorted(set(names)) == sorted(names)
