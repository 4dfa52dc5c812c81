# SPDX-License-Identifier: Apache-2.0
"""One resident, one consent, one exchange: valid documents for the protocol's tests.

Minato's nursery reads the resident's health checkups at Hoshino's clinic, under a
consent that Minato's city hall issued. Each function returns a valid document; a test
changes the one thing that it is about.
"""

from typing import Any

from protocol.canonical import b64url, canonical
from protocol.consent import (
    CONSENT,
    Consent,
    Evidence,
    Notice,
    Operation,
    Scope,
    State,
    StatusReference,
    Ticket,
)
from protocol.dataset import DatasetType
from protocol.envelope import Address, Envelope, Kind, RoutingHeader
from protocol.hop import HopRecord, append, last_digest
from protocol.ids import DatasetTypeName, ExchangeId, NodeId, PurposeName, RecordId
from protocol.location import TokenBody
from protocol.membership import Credentials, DataClass
from protocol.model import ANYONE
from protocol.pseudonym import handle
from protocol.request import Body, Read, Warrant
from protocol.sealed import OpeningKey, SealingKey
from protocol.session import NONCE_BYTES, SECRET_BYTES, AskerSession, HolderSession
from protocol.signature import digest_of, sign
from protocol.status import STATUS_LIST, Status, StatusList, pack
from protocol.suites import Signer
from tests.protocol.cities import HOSHINO, MINATO, NOW, opening, seed, signing

HOLDER = HOSHINO.node("clinic")
RECIPIENT = MINATO.node("nursery")
HOME = MINATO.node("hall")
RESIDENT_KEY = seed("resident", 32)
NOW_MS = NOW * 1000
EXCHANGE = ExchangeId("0197aaaa-bbbb-7ccc-8ddd-eeeeffff0001")
CHECKUP = DatasetTypeName("health.checkup")
TREATMENT = PurposeName("treatment")
FIELDS = ("date", "height", "weight", "facility_name", "note")
RECORDS = tuple(
    RecordId(f"urn:machikura:hoshino:clinic:0197aaaa-bbbb-7ccc-8ddd-00000000000{n}")
    for n in range(4)
)

DATASET: dict[str, Any] = {
    "name": CHECKUP,
    "version": 1,
    "title": {"en": "Health checkup", "ja": "健康診断"},
    "field": "health",
    "data_class": "special-care",
    "evidence_level": 2,
    "qualifications": ["privacy-mark"],
    "time_field": "date",
    "holder_fields": ["facility_name"],
    "purposes": {
        "treatment": {
            "title": {"en": "Treatment", "ja": "診療"},
            "fields": ["date", "height", "weight", "facility_name"],
        },
        "statistics": {"title": {"en": "Statistics"}, "fields": ["height"]},
    },
    "schema": {
        "type": "object",
        "properties": {name: {"type": "string"} for name in FIELDS},
        "additionalProperties": False,
    },
}


def dataset(**changes: object) -> DatasetType:
    """Return the dataset type of health checkups."""
    return DatasetType.model_validate_json(canonical({**DATASET, **changes}))


def ticket(party: NodeId = HOLDER) -> Ticket:
    """Return the ticket by which a party knows the resident."""
    return Ticket(
        consent="consent 1",
        party=party,
        handle=handle(RESIDENT_KEY, party),
        salt=b64url(seed(f"salt {party}", 16)),
    )


def consent(**changes: object) -> Consent:
    """Return the consent, with changes."""
    valid = Consent(
        iss=HOME,
        aud=ANYONE,
        jti="consent 1",
        iat=NOW - 1000,
        exp=NOW + 100_000,
        version=1,
        state=State.ACTIVE,
        recipients=(RECIPIENT,),
        holders=(HOLDER,),
        subjects=(ticket(HOLDER).commitment(), ticket(RECIPIENT).commitment()),
        operations=(Operation.SHARE,),
        scope=(Scope(dataset_type=CHECKUP, data_class=DataClass.SPECIAL_CARE),),
        purposes=(TREATMENT,),
        starts=NOW - 1000,
        ends=NOW + 50_000,
        notice=Notice(digest=digest_of(b"text"), language="ja", version="1"),
        evidence=Evidence(level=2, method="password+totp"),
        status=StatusReference(list=3, index=17),
    )
    return valid.model_copy(update=changes)


def consent_token() -> str:
    """Return the consent as signed by the home node."""
    return sign(signing(HOME), CONSENT, consent()).token


def status_list(
    states: dict[int, Status] | None = None, **changes: object
) -> StatusList:
    """Return the freshness proof of the consent's block, with changes."""
    valid = StatusList(
        iss=HOME,
        aud=ANYONE,
        jti="list 3, epoch 9",
        iat=NOW - 10,
        exp=NOW + 50,
        list=3,
        epoch=9,
        lst=pack(states or {}),
    )
    return valid.model_copy(update=changes)


def status_token() -> str:
    """Return the freshness proof as signed by the home node."""
    return sign(signing(HOME), STATUS_LIST, status_list()).token


def location_token(node: NodeId = HOLDER) -> str:
    """Return a location token to Hoshino's broker."""
    body = TokenBody(node=node, exp=NOW + 600, nonce="n1")
    return body.seal(HOSHINO.id, opening("hoshino/broker").public)


def header(**changes: object) -> RoutingHeader:
    """Return the routing header of the read, with changes."""
    valid = RoutingHeader(
        id=EXCHANGE,
        kind=Kind.READ,
        sender=RECIPIENT,
        to=Address(city=HOSHINO.id, token=location_token()),
        dataset_type=CHECKUP,
        purpose=TREATMENT,
        data_class=DataClass.SPECIAL_CARE,
        consent=digest_of(consent_token().encode("ascii")),
        hops=4,
        iat_ms=NOW_MS,
        deadline_ms=NOW_MS + 10_000,
    )
    return valid.model_copy(update=changes)


def body() -> Body:
    """Return the sealed body's content."""
    return Body(
        response_key=seed("response key", 32),
        query=Read(
            warrant=Warrant(
                consent=consent_token(),
                ticket=ticket().seal(opening(HOLDER).public),
                proof=status_token(),
            )
        ),
    )


def envelope(**changes: object) -> Envelope:
    """Return the request as the recipient sends it to the holder."""
    return sealed(
        header(**changes), body().encode(), opening(HOLDER).public, signing(RECIPIENT)
    )


def sealed(
    head: RoutingHeader, plaintext: bytes, key: SealingKey, signer: Signer
) -> Envelope:
    """Seal a plaintext in a session of the recipient with the owner of a key."""
    shown = Credentials(
        membership=MINATO.membership("nursery"), operating=MINATO.certificate()
    )
    session = AskerSession.start(key, shown, seed("session", SECRET_BYTES), NOW + 600)
    return Envelope.seal(head, plaintext, session, signer, seed("nonce", NONCE_BYTES))


def opened(arrived: Envelope, key: OpeningKey) -> bytes:
    """Open a body with the holder's key alone."""
    return arrived.open(HolderSession.accept(key, arrived.parts[0]))


def hop_chain(header_digest: str, *brokers: str) -> bytes:
    """Return the hop records of these brokers, in order."""
    hops = b""
    for position, broker in enumerate(brokers):
        record = HopRecord(
            by=NodeId(broker),
            next="member" if broker == brokers[-1] else "hoshino",
            at_ms=NOW_MS + position,
            decision="forward",
            prev=last_digest(hops, header_digest),
        )
        hops = append(hops, record)
    return hops
