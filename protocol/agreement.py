# SPDX-License-Identifier: Apache-2.0
"""Federation agreement: what two cities let pass, signed by both (requirement 49).

The only source of trust across cities. JWS JSON serialization (RFC 7515, 7.2.1) with
one signature by each root over the same payload; the first signature is the proposal,
the second makes it an agreement. `terms` hold per direction of the *request*: what
city `a` may ask in or through city `b`, and the reverse.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import Field, ValidationError

from protocol.canonical import b64url, parse_json, unb64url
from protocol.errors import BadSignature, Malformed, WrongAudience
from protocol.ids import CityId, DatasetTypeName, MunicipalCode, PurposeName
from protocol.membership import OPERATING, DataClass, OperatingCertificate
from protocol.model import Document, Request, Seconds, ShortText
from protocol.signature import Received, SingleKey, typ_of
from protocol.suites import Signer, VerifyingKey

KIND = "agreement"
NOTICE_DAYS = 30
"""Where the text does not say how long before its end one city alone must say so."""
_MAX_BYTES = 64 * 1024


N = TypeVar("N", bound=str)


class Party(Document):
    """One city of the agreement.

    Attributes:
        city: its id.
        code: its municipal code, where it has one.
        title: its name by language.
        root: its root key as JWK.
        operating: its operating certificate at signing time (renewed over links).
        links: addresses of its brokers, `wss://host:port/link`; empty if it only dials.
        contact: whom to call.
    """

    city: CityId
    code: MunicipalCode | None = None
    title: dict[str, ShortText] = Field(default_factory=dict)
    root: dict[str, str]
    operating: str
    links: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    contact: ShortText = ""

    def root_key(self) -> VerifyingKey:
        """Return the city's root key."""
        return VerifyingKey.from_jwk(self.root)


class Terms(Document):
    """What one city may ask of, or through, the other. Empty means nothing.

    Attributes:
        dataset_types: names, or `*` for any.
        purposes: names, or `*` for any.
        data_classes: classes that may pass; `closed` never does.
        transit: whether the other city may carry requests on to further cities.
        hop_limit: brokers that a request may pass at most.
    """

    dataset_types: tuple[DatasetTypeName | Literal["*"], ...] = ()
    purposes: tuple[PurposeName | Literal["*"], ...] = ()
    data_classes: tuple[DataClass, ...] = ()
    transit: bool = False
    hop_limit: Annotated[int, Field(ge=1, le=16)] = 4

    def refusal(self, dataset_type: str, purpose: str, data_class: str) -> str | None:
        """Return the slug of the first clause that forbids it, None if it may pass."""
        if data_class == DataClass.CLOSED or data_class not in self.data_classes:
            return "agreement-data-class"
        if "*" not in self.dataset_types and dataset_type not in self.dataset_types:
            return "agreement-dataset-type"
        if "*" not in self.purposes and purpose not in self.purposes:
            return "agreement-purpose"
        return None


def narrowed(one: Terms, other: Terms) -> Terms:
    """Return what both let pass."""
    return Terms(
        dataset_types=_common(one.dataset_types, other.dataset_types),
        purposes=_common(one.purposes, other.purposes),
        data_classes=tuple(c for c in one.data_classes if c in other.data_classes),
        transit=one.transit and other.transit,
        hop_limit=min(one.hop_limit, other.hop_limit),
    )


def is_within(inner: Terms, outer: Terms) -> bool:
    """Tell whether whatever `inner` lets pass, `outer` lets pass as well."""
    return (
        ("*" in outer.dataset_types or {*inner.dataset_types} <= {*outer.dataset_types})
        and ("*" in outer.purposes or {*inner.purposes} <= {*outer.purposes})
        and {*inner.data_classes} <= {*outer.data_classes}
        and inner.hop_limit <= outer.hop_limit
    )


def _common(one: tuple[N, ...], other: tuple[N, ...]) -> tuple[N, ...]:
    if "*" in one:
        return other
    return one if "*" in other else tuple(name for name in one if name in other)


class AgreementBody(Document):
    """The text both roots sign.

    Attributes:
        notice_days: one city alone may end it so many days after it has said so.
    """

    id: ShortText
    version: Annotated[int, Field(ge=1)] = 1
    a: Party
    b: Party
    a_to_b: Terms
    b_to_a: Terms
    starts: Seconds
    ends: Seconds
    notice_days: Annotated[int, Field(ge=0, le=3650)] | None = None

    @property
    def notice_s(self) -> int:
        """How long before it ends one city alone must say so, in seconds."""
        days = NOTICE_DAYS if self.notice_days is None else self.notice_days
        return days * 86_400

    def other(self, city: CityId) -> Party:
        """Return the party that `city` agreed with."""
        return self.b if city == self.a.city else self.a

    def terms(self, asking: CityId) -> Terms:
        """Return what `asking` may ask of the other; a stranger may ask nothing."""
        if not self.concerns(asking):
            return Terms()
        return self.a_to_b if asking == self.a.city else self.b_to_a

    def concerns(self, city: CityId) -> bool:
        """Tell whether `city` is a party."""
        return city in (self.a.city, self.b.city)


class _Signature(Request):
    protected: str
    signature: str


class _Wire(Request):
    payload: str
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=2)]


class Agreement(Document):
    """A proposal (one signature) or an agreement in force (two).

    Attributes:
        body: the text.
        signed_by: cities whose root signature was verified.
        wire: the JWS JSON serialization, byte for byte.
    """

    body: AgreementBody
    signed_by: tuple[CityId, ...]
    wire: bytes

    @property
    def complete(self) -> bool:
        """Both roots have signed."""
        return set(self.signed_by) == {self.body.a.city, self.body.b.city}

    def in_force(self, now: int) -> bool:
        """Complete, started, and not over."""
        return self.complete and self.body.starts <= now < self.body.ends

    @classmethod
    def propose(cls, body: AgreementBody, city: CityId, root: Signer) -> Agreement:
        """Write and sign the text as one of its two cities."""
        payload = b64url(body.encode())
        return cls._with(payload, [], body, city, root)

    def countersign(self, city: CityId, root: Signer) -> Agreement:
        """Add the second signature over the same bytes.

        Raises:
            WrongAudience: `city` is no party, or has signed already.
        """
        if not self.body.concerns(city) or city in self.signed_by:
            raise WrongAudience("this city has nothing to sign here")
        wire = _Wire.model_validate_json(self.wire)
        return self._with(wire.payload, list(wire.signatures), self.body, city, root)

    @classmethod
    def _with(
        cls,
        payload: str,
        signatures: list[_Signature],
        body: AgreementBody,
        city: CityId,
        root: Signer,
    ) -> Agreement:
        party = body.a if city == body.a.city else body.b
        if party.city != city or party.root_key() != root.public:
            raise BadSignature("this root key is not the one the text names")
        key = root.public
        header = {"alg": key.suite.algorithm, "kid": key.kid, "typ": typ_of(KIND)}
        protected = b64url(orjson.dumps(header, option=orjson.OPT_SORT_KEYS))
        signature = b64url(root.sign(f"{protected}.{payload}".encode("ascii")))
        signatures = [*signatures, _Signature(protected=protected, signature=signature)]
        wire = _Wire(payload=payload, signatures=tuple(signatures))
        return cls.parse(wire.model_dump_json().encode("ascii"))

    @classmethod
    def parse(cls, wire: bytes) -> Agreement:
        """Read a proposal or agreement and verify each signature on it.

        A signature counts for the party whose root key verifies it; the keys are those
        in the text, so the reader MUST compare its own city's root, and the other's
        fingerprint over another channel, before signing.

        Raises:
            ProtocolViolation: any fault.
        """
        parse_json(wire, max_bytes=_MAX_BYTES, max_depth=4)
        try:
            shape = _Wire.model_validate_json(wire)
        except ValidationError as error:
            raise Malformed("not an agreement file") from error
        body = AgreementBody.decode(unb64url(shape.payload), _MAX_BYTES)
        if body.a.city == body.b.city or body.a.root_key() == body.b.root_key():
            raise Malformed("an agreement has two different cities")
        if body.ends <= body.starts:
            raise Malformed("the agreement ends before it starts")
        roots = {p.root_key().kid: p for p in (body.a, body.b)}
        signed: list[CityId] = []
        for one in shape.signatures:
            token = f"{one.protected}.{shape.payload}.{one.signature}"
            received = Received.parse(token, KIND)
            party = roots.get(received.kid)
            if party is None or party.city in signed:
                raise BadSignature("signed by neither of the two roots")
            received.check(SingleKey(party.city, party.root_key()))
            signed.append(party.city)
        for party in (body.a, body.b):
            # Only that the root made it; its dates matter when it is used.
            certificate = Received.parse(party.operating, OPERATING).verify(
                OperatingCertificate, SingleKey(party.city, party.root_key())
            )
            if certificate.body.sub != party.city:
                raise Malformed("the operating certificate is for another city")
        return cls(body=body, signed_by=tuple(signed), wire=wire)
