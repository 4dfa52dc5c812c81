# SPDX-License-Identifier: Apache-2.0
"""The parties of the worked example: fixed keys, and who vouches for whom.

Seeds are SHAKE-256 of a name, so the file that `make_example.py` writes can be made
again. HPKE draws its ephemeral key itself; what it sealed is kept on a `Tape`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from identity.operating_keys import OPERATING_REQUEST, OperatingRequest
from protocol.agreement import Agreement, AgreementBody, Party, Terms
from protocol.brief import BRIEF, Brief
from protocol.canonical import b64url, unb64url
from protocol.consent import (
    CONSENT,
    Acknowledgement,
    Consent,
    Evidence,
    Notice,
    Operation,
    Scope,
    State,
    StatusReference,
    Ticket,
    Withdrawal,
)
from protocol.ending import AGREEMENT_END, AgreementEnd
from protocol.ids import CityId, DatasetTypeName, NodeId, PurposeName, uuid7
from protocol.location import LOCATION_GRANT, LocationGrant
from protocol.membership import (
    KEY_CHANGE,
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    REVOCATIONS,
    Credentials,
    DataClass,
    JoinRequest,
    KeyChange,
    MemberKey,
    Membership,
    OperatingCertificate,
    Qualification,
    Revocations,
    Role,
)
from protocol.model import ANYONE, Claims
from protocol.pseudonym import handle, locator
from protocol.route import ROUTE, TRUST_BUNDLE, Announcement, Bundle, CityKeys
from protocol.sealed import OpeningKey, SealingKey
from protocol.signature import digest_of, sign
from protocol.status import STATUS_LIST, StatusList, pack
from protocol.succession import ROOT_SUCCESSION, RootSuccession
from protocol.suites import SigningKey, Suite

NOW = 1_775_001_600  # 2026-04-01T00:00:00Z
DAY = 86_400
HOSHINO, MINATO, YAMANAMI = CityId("hoshino"), CityId("minato"), CityId("yamanami")
HALL, PHARMACY = NodeId("hoshino/hall"), NodeId("hoshino/pharmacy")
NEAR, FAR = NodeId("hoshino/broker"), NodeId("yamanami/broker")
CLINIC = NodeId("yamanami/clinic")
CHECKUP, TREATMENT = DatasetTypeName("health.checkup"), PurposeName("treatment")
NEXT_OPERATING = "hoshino operating 2"
NEXT_PHARMACY = "hoshino/pharmacy 2"
MEMBER_KEY_OWNER = "yamanami/clinic member key"
CONSENT_IDS = {
    False: "019d4652-6c00-7000-8000-000000000001",
    True: "019d4652-6c00-7000-8000-000000000002",
}


def seed(name: str, size: int) -> bytes:
    """Return fixed bytes: SHAKE-256 of a name. Never do this outside an example."""
    return hashlib.shake_256(f"machikura example {name}".encode()).digest(size)


def signing(name: str) -> SigningKey:
    """Return the signing key of that name."""
    return SigningKey(Suite.HYBRID, seed(f"sign {name}", 48))


def opening(name: str) -> OpeningKey:
    """Return the opening key of that name."""
    return OpeningKey(Suite.HYBRID, seed(f"open {name}", 96))


RESIDENT_KEY = seed("resident key", 32)
RESPONSE_KEY = seed("response key", 32)
SECRET, NONCE = seed("session", 32), seed("nonce", 12)


@dataclass
class Tape:
    """The ciphertexts of a run: drawn anew, or those of an earlier run.

    Attributes:
        recorded: ciphertexts of an earlier run by name, base64url; None draws anew.
        used: what this run used.
    """

    recorded: Mapping[str, str] | None
    used: dict[str, str] = field(default_factory=dict)

    def key(self, name: str, owner: str) -> TapedKey:
        """Return a sealing key whose next ciphertext has that name."""
        key = opening(owner)
        return TapedKey(key.suite, key.public.raw, name, key, self)

    def seal(
        self, key: TapedKey, label: str, context: bytes, plaintext: bytes
    ) -> bytes:
        """Seal, or take the recorded ciphertext if it opens to the same plaintext."""
        if self.recorded is None:
            sealed = key.opening.public.seal(label, context, plaintext)
        else:
            sealed = unb64url(self.recorded[key.name])
            if key.opening.open(label, context, sealed) != plaintext:
                raise SystemExit(f"{key.name} opens to something else")
        self.used[key.name] = b64url(sealed)
        return sealed


@dataclass(frozen=True)
class TapedKey(SealingKey):
    """A sealing key that asks the tape."""

    name: str
    opening: OpeningKey
    tape: Tape

    def seal(self, label: str, context: bytes, plaintext: bytes) -> bytes:
        """Return the tape's ciphertext."""
        return self.tape.seal(self, label, context, plaintext)


def claims(issuer: str, audience: str, number: int, life_s: int) -> dict[str, Any]:
    """Return the five members that every signed document has."""
    return {
        "iss": issuer,
        "aud": audience,
        "jti": str(uuid7(NOW * 1000, number.to_bytes(10, "big"))),
        "iat": NOW,
        "exp": NOW + life_s,
    }


# ------------------------------------------------------------- who belongs to whom


def operating(city: CityId) -> str:
    """Return a city's operating certificate."""
    body = OperatingCertificate(
        **claims(city, ANYONE, 1, 365 * DAY),
        sub=city,
        key=signing(f"{city} operating").public.jwk,
    )
    return sign(signing(f"{city} root"), OPERATING, body).token


def membership(node: NodeId, *roles: Role) -> str:
    """Return a node's membership."""
    body = Membership(
        **claims(node.city, ANYONE, 2, 7 * DAY),
        sub=node,
        title={"en": node.label},
        key=signing(node).public.jwk,
        sealing=opening(node).public.document,
        roles=roles or (Role.VAULT,),
        qualifications=(
            Qualification(scheme="privacy-mark", number="12345", until=NOW + 365 * DAY),
        ),
        data_classes=(DataClass.PERSONAL, DataClass.SPECIAL_CARE),
    )
    return sign(signing(f"{node.city} operating"), MEMBERSHIP, body).token


def credentials(node: NodeId, *roles: Role) -> Credentials:
    """Return what a node shows."""
    return Credentials(
        membership=membership(node, *roles), operating=operating(node.city)
    )


def city_keys(city: CityId) -> CityKeys:
    """Return what others know of a city; its broker is its directory too."""
    broker = membership(NodeId(f"{city}/broker"), Role.BROKER, Role.DIRECTORY)
    return CityKeys(
        city=city,
        root=signing(f"{city} root").public.jwk,
        operating=operating(city),
        broker=broker,
        directory=broker,
    )


def agreement() -> bytes:
    """Return the agreement of Hoshino and Yamanami, signed by both roots."""
    both = Terms(
        dataset_types=(CHECKUP,),
        purposes=(TREATMENT,),
        data_classes=(DataClass.SPECIAL_CARE,),
        transit=True,
        hop_limit=4,
    )
    parties = [
        Party(
            city=city,
            title={"en": city.title()},
            root=signing(f"{city} root").public.jwk,
            operating=operating(city),
            links=(f"wss://broker.{city}.example:8443/link",),
            contact=f"desk@{city}.example",
        )
        for city in (HOSHINO, YAMANAMI)
    ]
    body = AgreementBody(
        id="hoshino-yamanami-1",
        a=parties[0],
        b=parties[1],
        a_to_b=both,
        b_to_a=both,
        starts=NOW,
        ends=NOW + 365 * DAY,
    )
    proposal = Agreement.propose(body, HOSHINO, signing("hoshino root"))
    return proposal.countersign(YAMANAMI, signing("yamanami root")).wire


def announcements() -> tuple[str, str]:
    """Return Yamanami's word to Hoshino, and Hoshino's to Minato that wraps it."""
    own = Announcement(
        **claims(YAMANAMI, HOSHINO, 3, 600),
        origin=YAMANAMI,
        path=(YAMANAMI,),
        sequence=NOW * 1000,
        keys=city_keys(YAMANAMI),
    )
    inner = sign(signing("yamanami operating"), ROUTE, own).token
    wrapped = Announcement(
        **claims(HOSHINO, MINATO, 4, 600),
        origin=YAMANAMI,
        path=(HOSHINO, YAMANAMI),
        sequence=own.sequence,
        keys=own.keys,
        inner=inner,
        next_city=city_keys(YAMANAMI),
    )
    return inner, sign(signing("hoshino operating"), ROUTE, wrapped).token


def trust_documents() -> dict[str, str]:
    """Return the documents by which the parties know each other."""
    direct, wrapped = announcements()
    bundle = Bundle(
        **claims(HOSHINO, HOSHINO, 5, 3600),
        cities=(city_keys(HOSHINO), city_keys(YAMANAMI)),
        paths={YAMANAMI: (YAMANAMI,)},
        removed=(NodeId("hoshino/former"),),
    )
    join = JoinRequest(
        **claims(PHARMACY, HOSHINO, 6, DAY),
        sub=PHARMACY,
        title={"en": "pharmacy"},
        key=signing(PHARMACY).public.jwk,
        sealing=opening(PHARMACY).public.document,
        roles=(Role.VAULT,),
    )
    brief = Brief(
        **claims(HOSHINO, NodeId("hoshino/broker-2"), 7, 3600),
        authority=NEAR,
        agreements=(agreement().decode("ascii"),),
    )
    fresh = join.model_copy(update={"key": signing(NEXT_PHARMACY).public.jwk})
    change = KeyChange(
        **claims(PHARMACY, HOSHINO, 15, 7 * DAY),
        sub=PHARMACY,
        request=sign(signing(NEXT_PHARMACY), "join-request", fresh).token,
    )
    revoked = Revocations(
        **claims(HOSHINO, ANYONE, 16, DAY), keys=(signing("former").public.kid,)
    )
    wanted = OperatingRequest(
        **claims(HOSHINO, HOSHINO, 17, 30 * DAY),
        sub=HOSHINO,
        key=signing(NEXT_OPERATING).public.jwk,
    )
    succession = RootSuccession(
        **claims(HOSHINO, ANYONE, 18, 30 * DAY),
        sub=HOSHINO,
        sequence=1,
        previous=signing("hoshino root").public.jwk,
        key=signing("hoshino root 2").public.jwk,
        until=NOW + 30 * DAY,
    )
    word = AgreementEnd(
        **claims(HOSHINO, YAMANAMI, 19, 400 * DAY),
        agreement="hoshino-yamanami-1",
        version=1,
        at=NOW + 60 * DAY,
    )
    documents: dict[str, tuple[str, str, Claims]] = {
        "join-request": (PHARMACY, "join-request", join),
        "key-change": (PHARMACY, KEY_CHANGE, change),
        "revocations": ("hoshino operating", REVOCATIONS, revoked),
        "operating-request": (NEXT_OPERATING, OPERATING_REQUEST, wanted),
        "root-succession": ("hoshino root", ROOT_SUCCESSION, succession),
        "agreement-end": ("hoshino root", AGREEMENT_END, word),
        "trust-bundle": ("hoshino operating", TRUST_BUNDLE, bundle),
        "brief": ("hoshino operating", BRIEF, brief),
        "member-key": ("yamanami operating", MEMBER_KEY, member_key()),
        "location-grant": (HALL, LOCATION_GRANT, location_grant()),
        "consent": (HALL, CONSENT, consent(hidden=False)),
        "consent, hidden holder": (HALL, CONSENT, consent(hidden=True)),
        "status-list": (HALL, STATUS_LIST, status_list()),
        "withdrawal": (HALL, "withdrawal", withdrawal()),
        "acknowledgement": (PHARMACY, "acknowledgement", acknowledgement()),
    }
    return {
        "operating-certificate": operating(HOSHINO),
        "membership": membership(PHARMACY),
        "route": direct,
        "route, wrapped": wrapped,
        **{
            name: sign(signing(signer), kind, body).token
            for name, (signer, kind, body) in documents.items()
        },
    }


# ------------------------------------------------------------- what was agreed to


def salt(party: NodeId, *, hidden: bool) -> bytes:
    """Return what opens a party's commitment."""
    return seed(f"salt {party} {CONSENT_IDS[hidden]}", 16)


def ticket(party: NodeId, *, hidden: bool) -> Ticket:
    """Return who is meant, for one party."""
    return Ticket(
        consent=CONSENT_IDS[hidden],
        party=party,
        handle=handle(RESIDENT_KEY, party),
        salt=b64url(salt(party, hidden=hidden)),
    )


def consent(*, hidden: bool) -> Consent:
    """Return the resident's consent; the hidden one names no holder."""
    parties = (CLINIC, PHARMACY)
    return Consent(
        **{**claims(HALL, ANYONE, 7, 30 * DAY), "jti": CONSENT_IDS[hidden]},
        version=1,
        state=State.ACTIVE,
        recipients=(PHARMACY,),
        holders=("any",) if hidden else (CLINIC,),
        subjects=tuple(ticket(p, hidden=hidden).commitment() for p in parties),
        operations=(Operation.SHARE,),
        scope=(Scope(dataset_type=CHECKUP, data_class=DataClass.SPECIAL_CARE),),
        purposes=(TREATMENT,),
        starts=NOW,
        ends=NOW + 30 * DAY,
        hidden_holder=hidden,
        notice=Notice(digest=digest_of(b"The text shown."), language="en", version="1"),
        evidence=Evidence(level=2, method="password+totp"),
        status=StatusReference(list=0, index=6 if hidden else 5),
    )


def status_list() -> StatusList:
    """Return the freshness proof; nobody of this block has withdrawn."""
    return StatusList(**claims(HALL, ANYONE, 8, 60), list=0, epoch=1, lst=pack({}))


def member_key() -> MemberKey:
    """Return the nameless certificate of keys that the clinic made for the consent."""
    return MemberKey(
        **claims(YAMANAMI, CONSENT_IDS[True], 9, DAY),
        key=signing(MEMBER_KEY_OWNER).public.jwk,
        sealing=opening(MEMBER_KEY_OWNER).public.document,
    )


def location_grant() -> LocationGrant:
    """Return the leave to register at Yamanami's directory."""
    return LocationGrant(
        **claims(HALL, YAMANAMI, 10, 365 * DAY),
        holder=CLINIC,
        locator=locator(RESIDENT_KEY, YAMANAMI),
    )


def withdrawal() -> Withdrawal:
    """Return the word to the pharmacy that the consent has ended."""
    return Withdrawal(
        **claims(HALL, PHARMACY, 11, 30 * DAY),
        consent=CONSENT_IDS[False],
        version=2,
        state=State.WITHDRAWN,
        at=NOW,
        obligation="delete",
    )


def acknowledgement() -> Acknowledgement:
    """Return the pharmacy's answer to it."""
    return Acknowledgement(
        **claims(PHARMACY, HALL, 12, 30 * DAY),
        consent=CONSENT_IDS[False],
        version=2,
        done="deleted",
    )
