# SPDX-License-Identifier: Apache-2.0
"""Hostile input: whatever arrives, each parser gives a value or a fault of the peer.

Arbitrary bytes, damaged valid bytes, and valid documents with one member replaced by
something else and signed anew. Never another exception, and never much time.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.agreement import Agreement, AgreementBody
from protocol.answer import AnswerBody, AnswerEnvelope, prepend_hop
from protocol.canonical import b64url, canonical, parse_canonical, parse_json, unb64url
from protocol.consent import CONSENT, Consent, open_ticket
from protocol.envelope import ROUTING, Envelope, RoutingHeader
from protocol.errors import ProtocolViolation
from protocol.hop import last_record, parse
from protocol.location import LocationGrant, TokenBody, open_token
from protocol.membership import (
    MEMBER_KEY,
    MEMBERSHIP,
    OPERATING,
    JoinRequest,
    MemberKey,
    Membership,
    OperatingCertificate,
    verify_member_key,
    verify_membership,
    verify_operating,
)
from protocol.model import Document
from protocol.problem import ProblemBody, SignedProblem
from protocol.provision import ProvisionRecord
from protocol.request import Body
from protocol.route import (
    ROUTE,
    Announcement,
    Bundle,
    CityKeys,
    verify_announcement,
    verify_city_keys,
)
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, SingleKey, digest_of, sign_bytes
from protocol.status import STATUS_LIST, StatusList, unpack
from protocol.suites import SigningKey, VerifyingKey
from tests.protocol.cities import (
    HOSHINO,
    MINATO,
    NOW,
    SKEW,
    YAMANAMI,
    agreement_body,
    announcement,
    join_request,
    opening,
    signing,
)
from tests.protocol.exchanges import (
    HOLDER,
    HOME,
    RECIPIENT,
    body,
    consent,
    consent_token,
    envelope,
    hop_chain,
    location_token,
    opened,
    status_list,
    status_token,
    ticket,
)

LIMIT = 1 << 20
HEADER = digest_of(b"header")
SENT = envelope()
AGREED = Agreement.propose(agreement_body(), HOSHINO.id, HOSHINO.root).countersign(
    MINATO.id, MINATO.root
)
ANSWER = b"\x01\x00\x00\x00\x05line\npayload"


@dataclass(frozen=True)
class Parser:
    """One way in.

    Attributes:
        parse: reads bytes.
        valid: bytes that it accepts.
    """

    parse: Callable[[bytes], object]
    valid: bytes


def of_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Let a parser of text read bytes, all of them."""
    return lambda data: parse(data.decode("latin-1"))


def _envelope(data: bytes) -> object:
    arrived = Envelope.unpack(data, LIMIT)
    parse(arrived.hops, arrived.digest)
    arrived.verify(SingleKey(RECIPIENT, signing(RECIPIENT).public))
    return Body.decode(opened(arrived, opening(HOLDER)))


def _answer(data: bytes) -> object:
    prepend_hop(data, b"line\n")
    return AnswerEnvelope.unpack(data, LIMIT)


def _member(token: str) -> object:
    key = HOSHINO.operating.public
    return verify_membership(token, HOSHINO.id, key, NOW, SKEW)


def _member_key(token: str) -> object:
    key = HOSHINO.operating.public
    return verify_member_key(token, HOSHINO.id, key, NOW, SKEW)


def _certificate(token: str) -> object:
    return verify_operating(token, HOSHINO.id, HOSHINO.root.public, NOW, SKEW)


def _route(token: str) -> object:
    key = MINATO.operating.public
    return verify_announcement(token, MINATO.id, key, HOSHINO.id, NOW, SKEW)


def _consent(token: str) -> object:
    keys = SingleKey(HOME, signing(HOME).public)
    return Received.parse(token, CONSENT).verify(Consent, keys)


def _status(token: str) -> object:
    keys = SingleKey(HOME, signing(HOME).public)
    proof = Received.parse(token, STATUS_LIST).verify(StatusList, keys)
    return proof.body.status(17)


def _ticket(sealed: str) -> object:
    return open_ticket(sealed, opening(HOLDER), HOLDER, consent())


def _location(token: str) -> object:
    return open_token(token, HOSHINO.id, opening("hoshino/broker"), NOW)


def _jwk(data: bytes) -> object:
    return VerifyingKey.from_jwk(parse_canonical(data))


def _keys(data: bytes) -> object:
    return verify_city_keys(CityKeys.decode(data), NOW, SKEW)


PARSERS = {
    "canonical": Parser(parse_canonical, consent().encode()),
    "json": Parser(parse_json, json.dumps({"a": [1.5, "é", None]}).encode()),
    "base64url": Parser(unb64url, b64url(b"any bytes").encode()),
    "jwk": Parser(_jwk, canonical(signing(HOLDER).public.jwk)),
    "sealing key": Parser(
        lambda data: PublicSealingKey.decode(data).load(),
        opening(HOLDER).public.document.encode(),
    ),
    "token": Parser(
        lambda data: Received.parse(data, ROUTING), consent_token().encode()
    ),
    "envelope": Parser(_envelope, SENT.pack()),
    "hops": Parser(lambda data: parse(data, HEADER), hop_chain(HEADER, "a/b", "c/d")),
    "last hop": Parser(last_record, hop_chain(HEADER, "a/b", "c/d")),
    "answer": Parser(_answer, ANSWER),
    "certificate": Parser(of_text(_certificate), HOSHINO.certificate().encode()),
    "membership": Parser(of_text(_member), HOSHINO.membership("clinic").encode()),
    "member key": Parser(of_text(_member_key), HOSHINO.member_key("n", "c").encode()),
    "join request": Parser(of_text(JoinRequest.verify), join_request().encode()),
    "agreement": Parser(Agreement.parse, AGREED.wire),
    "route": Parser(
        of_text(_route), announcement((MINATO, YAMANAMI), HOSHINO).encode()
    ),
    "city keys": Parser(_keys, YAMANAMI.keys().encode()),
    "consent": Parser(of_text(_consent), consent_token().encode()),
    "ticket": Parser(of_text(_ticket), ticket().seal(opening(HOLDER).public).encode()),
    "status list": Parser(of_text(_status), status_token().encode()),
    "status stream": Parser(
        lambda data: unpack(data, 256), unb64url(status_list().lst)
    ),
    "location token": Parser(of_text(_location), location_token().encode()),
}
EACH = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)

MODELS: tuple[type[Document], ...] = (
    AgreementBody,
    Announcement,
    AnswerBody,
    Bundle,
    CityKeys,
    Consent,
    LocationGrant,
    MemberKey,
    Membership,
    OperatingCertificate,
    ProblemBody,
    ProvisionRecord,
    RoutingHeader,
    SignedProblem,
    StatusList,
    TokenBody,
)


def judged(read: Callable[[], object]) -> None:
    """Let a value or a fault of the peer pass, and nothing else."""
    try:
        read()
    except ProtocolViolation as fault:
        assert len(fault.detail) < 400


@EACH
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_value_or_a_fault(parser: Parser, data: bytes) -> None:
    """Nothing that arrives raises an error of a library."""
    judged(lambda: parser.parse(data))


@EACH
@given(st.data())
def test_damaged_bytes_are_a_value_or_a_fault(
    parser: Parser, data: st.DataObject
) -> None:
    """Cut, overwritten, repeated, with something put in between."""
    valid = parser.valid
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(start + 40, len(valid))))
    between = data.draw(
        st.binary(max_size=12)
        | st.just(valid[start:end] * 2)
        | st.sampled_from([b"\xff" * 4, b"\0" * 4, b'"', b"{}", b"[[[[", b"\\u", b"."])
    )
    tail = valid[end:] if data.draw(st.booleans()) else b""
    judged(lambda: parser.parse(valid[:start] + between + tail))


@EACH
def test_every_truncation_is_a_value_or_a_fault(parser: Parser) -> None:
    """At every byte near the ends, and at some in the middle."""
    size = len(parser.valid)
    for cut in {*range(min(40, size)), *range(0, size, 97), *range(size - 9, size)}:
        judged(lambda cut=cut: parser.parse(parser.valid[:cut]))  # type: ignore[misc]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.sampled_from(["", "*", "any", "a/b", "\0", "x" * 600, "../..", "é", "A" * 43]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.lists(st.sampled_from(["a", 1, None, {}, []]), max_size=3),
    st.dictionaries(
        st.sampled_from(["op", "city", "x", "kty"]), st.text("ab"), max_size=2
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every member, at every depth."""
    inner = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    found = [path] if path else []
    for name, member in inner:
        found += places(member, (*path, name))
    return found


def replaced(value: dict[str, Any], path: tuple[Any, ...], junk: object) -> bytes:
    """Return the value's canonical bytes with one member replaced."""
    whole = json.loads(json.dumps(value))
    target = whole
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = junk
    return canonical(whole)


@dataclass(frozen=True)
class Form:
    """A signed form whose members are replaced, and which is then signed anew.

    Attributes:
        kind: kind of document.
        signer: whose signature the reader asks for.
        read: reads the token.
        token: a valid one.
    """

    kind: str
    signer: SigningKey
    read: Callable[[str], object]
    token: str


FORMS = {
    "certificate": Form(OPERATING, HOSHINO.root, _certificate, HOSHINO.certificate()),
    "membership": Form(
        MEMBERSHIP, HOSHINO.operating, _member, HOSHINO.membership("clinic")
    ),
    "member key": Form(
        MEMBER_KEY, HOSHINO.operating, _member_key, HOSHINO.member_key("n", "c")
    ),
    "consent": Form(CONSENT, signing(HOME), _consent, consent_token()),
    "status list": Form(STATUS_LIST, signing(HOME), _status, status_token()),
    "route": Form(
        ROUTE, MINATO.operating, _route, announcement((MINATO, YAMANAMI), HOSHINO)
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@given(st.data())
def test_signed_document_with_a_strange_member_is_a_value_or_a_fault(
    form: Form, data: st.DataObject
) -> None:
    """The signature is right, so everything behind it is reached."""
    claims = parse_canonical(Received.parse(form.token, form.kind).payload)
    path = data.draw(st.sampled_from(places(claims)))
    payload = replaced(claims, path, data.draw(JUNK))
    token = sign_bytes(form.signer, form.kind, payload)
    judged(lambda: form.read(token))


@given(st.data())
def test_sealed_body_with_a_strange_member_is_a_value_or_a_fault(
    data: st.DataObject,
) -> None:
    """What a sender with every right can put inside."""
    whole = body().encode()
    size = int.from_bytes(whole[32:36], "big")
    parts = [whole[36 : 36 + size], whole[36 + size :]]
    which = data.draw(st.sampled_from([0, 1]))
    members = json.loads(parts[which])
    path = data.draw(st.sampled_from(places(members)))
    parts[which] = replaced(members, path, data.draw(JUNK))
    length = len(parts[0]).to_bytes(4, "big")
    judged(lambda: Body.decode(whole[:32] + length + parts[0] + parts[1]))


@given(st.data())
def test_agreement_with_a_strange_member_is_a_value_or_a_fault(
    data: st.DataObject,
) -> None:
    """Text and serialization; the text is signed anew by both roots."""
    text = json.loads(agreement_body().encode())
    path = data.draw(st.sampled_from(places(text)))
    payload = b64url(replaced(text, path, data.draw(JUNK)))
    wire = json.loads(AGREED.wire)
    for signature, root in zip(
        wire["signatures"], (HOSHINO.root, MINATO.root), strict=True
    ):
        signed = root.sign(f"{signature['protected']}.{payload}".encode())
        signature["signature"] = b64url(signed)
    whole = {**wire, "payload": payload}
    judged(lambda: Agreement.parse(canonical(whole)))
    path = data.draw(st.sampled_from(places(wire)))
    strange = replaced(wire, path, data.draw(JUNK))
    judged(lambda: Agreement.parse(strange))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), JUNK, max_size=4))
def test_any_object_is_a_document_or_a_fault(
    model: type[Document], value: dict[str, Any]
) -> None:
    """Canonical, but with any members."""
    judged(lambda: model.decode(canonical(value)))
    names = iter(model.model_fields)
    renamed = {next(names, name): member for name, member in value.items()}
    judged(lambda: model.decode(canonical(renamed)))


FLOODS = {
    "brackets": b"[" * 400_000,
    "objects": b'{"a":' * 100_000,
    "digits": b"1" * 400_000,
    "quotes": b'"' * 400_000,
    "backslashes": b'"' + b"\\" * 400_000,
    "dots": b"." * 200_000,
    "lines": b"\n" * 200_000,
    "members": canonical({f"m{i}": 1 for i in range(20_000)}),
    "numbers": canonical({"a": [1] * 100_000}),
    "letters": b"A" * 400_000,
    "zeros": bytes(400_000),
}


@EACH
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_flood_costs_little(parser: Parser, flood: bytes) -> None:
    """Each parser is done with some 400 kB of nonsense in a fraction of a second."""
    before = time.process_time()
    for data in (flood, parser.valid[: len(parser.valid) // 2] + flood):
        judged(lambda data=data: parser.parse(data))  # type: ignore[misc]
    assert time.process_time() - before < 1.0
