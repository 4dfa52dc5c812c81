# SPDX-License-Identifier: Apache-2.0
"""Makes `exchange.json`: one federated read with fixed keys, every byte of it.

    python -m docs.examples.make_example            # write the file anew
    python -m docs.examples.make_example --check    # compare it with the code

Everything follows from the seeds, except what HPKE seals: its ephemeral key is drawn by
the library. So the file also records the ciphertexts. `--check`, and the test of this
file, open each of them, compare the plaintext, and rebuild all the rest around them:
one byte that differs is a failure.

The story: Hoshino's pharmacy reads the health checkup of a resident of Hoshino at
Yamanami's clinic, under a consent that Hoshino's city hall issued; once openly, once
with the holder hidden.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from docs.examples.parties import (
    CHECKUP,
    CLINIC,
    FAR,
    HALL,
    HOSHINO,
    MEMBER_KEY_OWNER,
    NEAR,
    NONCE,
    NOW,
    PHARMACY,
    RESIDENT_KEY,
    RESPONSE_KEY,
    SECRET,
    TREATMENT,
    YAMANAMI,
    Tape,
    agreement,
    claims,
    consent,
    credentials,
    membership,
    opening,
    salt,
    seed,
    signing,
    ticket,
    trust_documents,
)
from federation import frames
from federation.handshake import DialerHandshake, ListenerHandshake, PeerIdentity
from federation.versions import Abilities
from protocol import hop, merkle
from protocol.answer import ANSWER, AnswerBody, AnswerEnvelope, AnswerType, ReadResult
from protocol.canonical import b64url, unb64url
from protocol.consent import open_ticket
from protocol.envelope import Address, Envelope, Kind, RoutingHeader
from protocol.evidence import (
    LIFE_S,
    LINK_BATCH,
    Leaf,
    LinkBatch,
    Outcome,
    root_of,
)
from protocol.hop import HopRecord, append, last_digest
from protocol.ids import ExchangeId, RecordId, uuid7
from protocol.location import TokenBody, open_token
from protocol.membership import Credentials, DataClass, Role
from protocol.model import ANYONE
from protocol.problem import PROBLEM, ProblemBody, SignedProblem
from protocol.pseudonym import blind_record_serial, handle, locator
from protocol.request import Body, Read, Warrant, WireRecord
from protocol.route_proof import HOP_BATCH, HOP_WORD, HopBatch, HopWord, leaf_of
from protocol.sealed import seal_answer
from protocol.session import AskerSession, HolderSession
from protocol.signature import digest_of, sign
from protocol.suites import VerifyingKey

CONTENT = '{"date":"2026-03-02","height_cm":162.5,"weight_kg":55.0}'
ABILITIES = Abilities(suites=("hybrid", "strict"), capabilities=frozenset({"example"}))
FILE = Path(__file__).with_name("exchange.json")
# ------------------------------------------------------------------- one exchange


def read(tape: Tape, *, hidden: bool) -> dict[str, Any]:
    """Carry out the read and return each of its steps."""
    name = "hidden" if hidden else "open"
    signed = trust_documents()
    agreed = signed["consent, hidden holder" if hidden else "consent"]
    consent_name = digest_of(agreed.encode())
    owner = MEMBER_KEY_OWNER if hidden else CLINIC
    meant = ticket(CLINIC, hidden=hidden)
    # 1. What the home node gave the pharmacy: location token, ticket.
    body = TokenBody(node=CLINIC, exp=NOW + 3600, consent=consent_name, nonce=name)
    token = body.seal(YAMANAMI, tape.key(f"{name} location token", FAR))
    sealed_ticket = meant.seal(tape.key(f"{name} ticket", owner))
    # 2. The pharmacy asks.
    header = RoutingHeader(
        id=ExchangeId(str(uuid7(NOW * 1000, bytes([hidden]) * 10))),
        kind=Kind.READ,
        sender=PHARMACY,
        to=Address(city=YAMANAMI, token=token),
        dataset_type=CHECKUP,
        purpose=TREATMENT,
        data_class=DataClass.SPECIAL_CARE,
        consent=consent_name,
        member=signing(MEMBER_KEY_OWNER).public.kid if hidden else None,
        hops=6,
        iat_ms=NOW * 1000,
        deadline_ms=NOW * 1000 + 10_000,
    )
    warrant = Warrant(
        consent=agreed,
        ticket=sealed_ticket,
        proof=signed["status-list"],
        home=credentials(HALL, Role.IDENTITY),
    )
    request = Body(RESPONSE_KEY, Read(warrant=warrant))
    key = tape.key(f"{name} offer", owner)
    session = AskerSession.start(key, credentials(PHARMACY), SECRET, NOW + 600)
    envelope = Envelope.seal(
        header, request.encode(), session, signing(PHARMACY), NONCE
    )
    sent = envelope.pack()
    # 3. Two brokers carry it.
    hops = b""
    for broker, onward in ((NEAR, "yamanami"), (FAR, "member")):
        previous = last_digest(hops, envelope.digest)
        record = HopRecord(
            by=broker,
            next=onward,
            at_ms=NOW * 1000 + 1,
            decision="forward",
            prev=previous,
        )
        hops = append(hops, record)
    # 4. The clinic opens it, decides, and answers.
    arrived = Envelope(envelope.token, hops, envelope.body)
    if open_token(token, YAMANAMI, opening(FAR), NOW) != body:
        raise SystemExit("the location token opens to something else")
    given = consent(hidden=hidden)
    if open_ticket(sealed_ticket, opening(owner), CLINIC, given) != meant:
        raise SystemExit("the ticket opens to something else")
    accepted = HolderSession.accept(opening(owner), arrived.parts[0])
    if Body.decode(arrived.open(accepted)) != request:
        raise SystemExit("the body opens to something else")
    body_of_answer = answer_body(header, envelope.digest, digest_of(hops), hidden)
    answer = sign(signing(owner), ANSWER, body_of_answer)
    binding = unb64url(envelope.digest)
    sealed = seal_answer(RESPONSE_KEY, binding, answer.token.encode())
    returned = AnswerEnvelope(AnswerType.SEALED, hops, sealed).pack()
    return {
        "location token": token,
        "ticket": sealed_ticket,
        "routing header, payload H": header.encode().decode(),
        "routing header (JWS)": envelope.token.decode(),
        "request digest": envelope.digest,
        "offer in clear": accepted.plaintext.decode(),
        "body in clear (base64url)": b64url(request.encode()),
        "query in clear": request.encode()[36:].decode(),
        "sealed body (base64url)": b64url(envelope.body),
        "envelope as sent (base64url)": b64url(sent),
        "hop records": hops.decode().splitlines(),
        "envelope as it arrives, first 9 bytes (hex)": arrived.pack()[:9].hex(),
        "answer in clear (JWS)": answer.token,
        "answer key, nonce key (hex)": answer_keys(binding).hex(),
        "answer as it arrives (base64url)": b64url(returned),
    }


def answer_body(
    header: RoutingHeader, request: str, hops: str, hidden: bool
) -> AnswerBody:
    """Return the clinic's answer; in a hidden read its city is the issuer."""
    serial = uuid7(NOW * 1000 - 1, b"\1" * 10)
    record = RecordId.of(CLINIC, serial)
    if hidden:
        blind = blind_record_serial(seed("clinic record secret", 32), record)
        record = RecordId(f"urn:machikura:yamanami::{_uuid(blind)}")
    return AnswerBody(
        **{
            **claims(YAMANAMI if hidden else CLINIC, PHARMACY, 13, 3600),
            "jti": header.id,
        },
        request=request,
        hops=hops,
        result=ReadResult(
            records=(
                WireRecord(
                    id=record,
                    dataset_type=CHECKUP,
                    version=1,
                    time="2026-03-02",
                    content=CONTENT,
                ),
            ),
            fields=("date", "height_cm", "weight_kg"),
            cut={"purpose": ("facility_name", "findings")},
        ),
    )


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def answer_keys(binding: bytes) -> bytes:
    """Return the AES-256-GCM key of the answer and the key of its nonce."""
    derive = HKDF(
        algorithm=hashes.SHA256(), length=64, salt=binding, info=b"machikura answer 1"
    )
    return derive.derive(RESPONSE_KEY)


def refusal(request: str) -> dict[str, str]:
    """Return a refusal by Yamanami's broker, as it leaves that broker."""
    body = SignedProblem(
        **claims(FAR, PHARMACY, 14, 3600),
        request=request,
        problem=ProblemBody(code="agreement-purpose", detail="hoshino-yamanami-1"),
    )
    token = sign(signing(FAR), PROBLEM, body).token
    shown = membership(FAR, Role.BROKER, Role.DIRECTORY)
    payload = f"{token}\n{shown}".encode()
    packed = AnswerEnvelope(AnswerType.PROBLEM, b"", payload).pack()
    return {
        "problem (JWS)": token,
        "answer without hop records (base64url)": b64url(packed),
    }


# ----------------------------------------------------------------------- one link


@dataclass(frozen=True)
class LinkParty:
    """One side of the handshake; it takes the other's word for who it is."""

    node: str
    peer: str
    shown: Credentials

    def credentials(self) -> bytes:
        """Return what this side shows."""
        return self.shown.encode()

    def sign(self, data: bytes, /) -> bytes:
        """Sign with this side's key."""
        return signing(self.node).sign(data)

    def verify_peer(self, credentials: bytes, /) -> PeerIdentity:
        """Return the peer; a real node verifies the credentials here."""
        key: VerifyingKey = signing(self.peer).public
        return PeerIdentity(
            self.peer, lambda data, given: key.verify(given, data), NOW * 1000 + 1
        )


def handshake() -> dict[str, str]:
    """Return the four messages by which the pharmacy links to its broker."""
    certificate = hashlib.sha256(b"the broker's TLS certificate, DER").digest()
    shown = credentials(NEAR, Role.BROKER, Role.DIRECTORY)
    dialer = DialerHandshake(
        identity=LinkParty(PHARMACY, NEAR, credentials(PHARMACY)),
        certificate_hash=certificate,
        nonce=seed("dialer nonce", 32),
        abilities=ABILITIES,
        expected=NEAR,
    )
    listener = ListenerHandshake(
        identity=LinkParty(NEAR, PHARMACY, shown),
        certificate_hash=certificate,
        nonce=seed("listener nonce", 32),
        abilities=ABILITIES,
    )
    answer = listener.greeted(dialer.hello())
    auth = dialer.answered(answer)
    _, done = listener.authenticated(auth)
    return {
        "certificate hash (hex)": certificate.hex(),
        "hello": dialer.hello().decode(),
        "answer": answer.decode(),
        "auth": auth.decode(),
        "done": done.decode(),
    }


def packets() -> dict[str, str]:
    """Return one packet for each shape of frame."""
    return {
        "REQUEST, 5 bytes on stream 1": frames.encode(1, 0, 1, b"hello").hex(),
        "REQUEST of 100000 bytes announced on stream 3": frames.encode_size(
            1, 3, 100_000
        ).hex(),
        "WINDOW, 131072 bytes more on stream 3": frames.encode_window(3, 131_072).hex(),
        "CANCEL of stream 3, then PING": (
            frames.encode(5, 0, 3, b"") + frames.encode(7, 0, 0, bytes(7) + b"\1")
        ).hex(),
        "CLOSE, code 2": frames.encode_close(2, "expired").hex(),
    }


# ----------------------------------------------------------------------- evidence


def evidence() -> dict[str, str]:
    """Return a batch that the pharmacy signs about its link, with one leaf."""
    leaf = Leaf(
        asked=True,
        adopted=False,
        outcome=Outcome.ANSWERED,
        exchange=seed("exchange", 16),
        request=hashlib.sha256(b"a request").digest(),
        answer=hashlib.sha256(b"an answer").digest(),
    ).encode()
    stream = b64url(seed("stream", 16))
    body = LinkBatch(
        **{**claims(PHARMACY, NEAR, 15, LIFE_S), "jti": f"{stream}.0"},
        stream=stream,
        seq=0,
        count=1,
        root=root_of([leaf]),
        from_ms=NOW * 1000,
        to_ms=NOW * 1000 + 5_000,
    )
    record = HopRecord(
        by=NEAR,
        next=YAMANAMI,
        at_ms=NOW * 1000,
        decision="forward",
        prev=digest_of(b"a routing header"),
    )
    line, second = hop.line(record), hashlib.sha256(b"another line").digest()
    hops = HopBatch(
        **{**claims(NEAR, ANYONE, 16, LIFE_S), "jti": f"{stream}.0"},
        stream=stream,
        seq=0,
        count=2,
        root=b64url(merkle.root([leaf_of(line), second])),
        from_ms=NOW * 1000,
        to_ms=NOW * 1000 + 5_000,
    )
    batch = sign(signing(NEAR), HOP_BATCH, hops).token
    word = HopWord(
        **claims(NEAR, PHARMACY, 17, LIFE_S),
        request=record.prev,
        record=digest_of(line),
        says="proven",
        batch=batch,
        index=0,
        path=(b64url(merkle.leaf_hash(second)),),
    )
    return {
        "link batch (JWS)": sign(signing(PHARMACY), LINK_BATCH, body).token,
        "leaf (hex)": leaf.hex(),
        "hop record": line.decode(),
        "hop batch (JWS)": batch,
        "hop word (JWS)": sign(signing(NEAR), HOP_WORD, word).token,
    }


# ----------------------------------------------------------------------- the file


def build(recorded: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the whole example.

    Args:
        recorded: ciphertexts of an earlier run; None draws new ones.
    """
    tape = Tape(recorded)
    plain, hidden = read(tape, hidden=False), read(tape, hidden=True)
    names = [f"{city} {key}" for city in (HOSHINO, YAMANAMI) for key in KEYS_OF_A_CITY]
    nodes = [HALL, PHARMACY, NEAR, CLINIC, FAR, MEMBER_KEY_OWNER]
    return {
        "about": "Made by make_example.py; described in docs/protocol.md, section 26.",
        "now": NOW,
        "signing keys": {n: _signing_key(n) for n in (*names, *nodes)},
        "opening keys": {n: _opening_key(n) for n in nodes},
        "pseudonyms": {
            "resident key (hex)": RESIDENT_KEY.hex(),
            "handle at yamanami/clinic": handle(RESIDENT_KEY, CLINIC),
            "locator in yamanami": locator(RESIDENT_KEY, YAMANAMI),
            "salt for yamanami/clinic (hex)": salt(CLINIC, hidden=False).hex(),
            "commitment of yamanami/clinic": ticket(CLINIC, hidden=False).commitment(),
        },
        "response key (hex)": RESPONSE_KEY.hex(),
        "key of the session (hex)": SECRET.hex(),
        "nonce of the bodies (hex)": NONCE.hex(),
        "documents": trust_documents(),
        "agreement": agreement().decode(),
        "open read": plain,
        "hidden read": hidden,
        "refusal of the open read": refusal(plain["request digest"]),
        "handshake": handshake(),
        "packets (hex)": packets(),
        "evidence": evidence(),
        "ciphertexts": tape.used,
    }


KEYS_OF_A_CITY = ("root", "operating")


def _signing_key(name: str) -> dict[str, Any]:
    key = signing(name)
    return {
        "seed": key.seed.hex(),
        "public": key.public.jwk,
        "kid": key.public.kid,
    }


def _opening_key(name: str) -> dict[str, str]:
    key = opening(name)
    return {"seed": key.seed.hex(), "public": b64url(key.public.raw)}


def render(example: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(example, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write the file, or check it."""
    if arguments == ["--check"]:
        text = FILE.read_text(encoding="utf-8")
        if render(build(json.loads(text)["ciphertexts"])) != text:
            raise SystemExit("exchange.json is not what the code makes")
        return
    FILE.write_text(render(build(None)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
