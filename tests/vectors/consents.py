# SPDX-License-Identifier: Apache-2.0
"""Vectors of what a holder judges: consents, freshness, pseudonyms."""

import zlib
from collections.abc import Iterable

from protocol.canonical import b64url, unb64url
from protocol.consent import CONSENT
from protocol.pseudonym import commitment, handle, locator
from protocol.signature import sign_bytes
from protocol.status import Status, pack
from tests.protocol.cities import (
    HOSHINO,
    opening,
    resign,
    seed,
    signing,
)
from tests.protocol.exchanges import (
    HOLDER,
    HOME,
    RECIPIENT,
    RESIDENT_KEY,
    consent,
    consent_token,
    ticket,
)
from tests.vectors.cases import Case, fails, opening_json, passes


def consents() -> Iterable[Case]:
    """Yield consents with the ticket of the holder."""
    right = ticket().seal(opening(HOLDER).public)

    def given(token: str, sealed: str = right) -> Case:
        return {
            "consent": token,
            "ticket": sealed,
            "home": HOME,
            "home_jwk": signing(HOME).public.jwk,
            "party": HOLDER,
            "opening_key": opening_json(opening(HOLDER)),
        }

    def sealed(consent_id: str = "consent 1", **changes: object) -> str:
        changed = ticket().model_copy(update=changes)
        key = opening(HOLDER).public
        return b64url(
            key.seal("machikura ticket 1", consent_id.encode(), changed.encode())
        )

    token = consent_token()
    yield passes("valid", given(token), {"handle": handle(RESIDENT_KEY, HOLDER)})
    other = handle(seed("another resident", 32), HOLDER)
    for name, ticket_, failure in (
        ("ticket of another person", sealed(handle=other), "malformed"),
        ("ticket of another party", sealed(party=RECIPIENT), "malformed"),
        ("ticket with another salt", sealed(salt=b64url(bytes(16))), "malformed"),
        ("ticket with a short salt", sealed(salt=b64url(bytes(15))), "malformed"),
        ("ticket that names another consent", sealed(consent="c2"), "malformed"),
        ("ticket sealed for another consent", sealed("c2"), "cannot-open"),
        ("truncated ticket", b64url(unb64url(right)[:-1]), "cannot-open"),
        ("ticket with padding", right + "=", "malformed"),
    ):
        yield fails(name, given(token, ticket_), failure)
    home = signing(HOME)
    for name, changes in (
        ("no scope", {"scope": []}),
        ("no holder", {"holders": []}),
        ("no purpose", {"purposes": []}),
        ("purpose with a wildcard", {"purposes": ["*"]}),
        ("status index beyond the block", {"status": {"list": 3, "index": 1024}}),
        ("unknown operation", {"operations": ["sell"]}),
    ):
        yield fails(name, given(resign(token, CONSENT, home, **changes)), "malformed")
    yield fails(
        "version of another schema",
        given(resign(token, CONSENT, home, schema_version="machikura-consent-2")),
        "unsupported-version",
    )
    yield passes(
        "member of a newer version is ignored",
        given(resign(token, CONSENT, home, zeal=1)),
        {"handle": handle(RESIDENT_KEY, HOLDER)},
    )
    spaced = consent().encode().replace(b":", b": ", 1)
    yield fails("not canonical", given(sign_bytes(home, CONSENT, spaced)), "malformed")
    twice = consent().encode().replace(b'{"aud"', b'{"aud":"x","aud"', 1)
    yield fails(
        "duplicate member", given(sign_bytes(home, CONSENT, twice)), "malformed"
    )
    yield fails(
        "issuer is not the owner of the key",
        given(resign(token, CONSENT, home, iss="hoshino/hall")),
        "wrong-issuer",
    )
    yield fails(
        "signed by the recipient",
        given(resign(token, CONSENT, signing(RECIPIENT))),
        "unknown-key",
    )
    yield fails(
        "signed as another kind",
        given(sign_bytes(home, "withdrawal", consent().encode())),
        "wrong-type",
    )


def status_lists() -> Iterable[Case]:
    """Yield packed lists, each with one index to read."""
    states = {0: Status.WITHDRAWN, 1: Status.PAUSED, 1023: Status.SUPERSEDED}
    packed = pack(states)
    for index, state in {**states, 2: Status.VALID, 1022: Status.VALID}.items():
        given = {"lst": packed, "index": index}
        yield passes(f"index {index}", given, int(state))
    raw = unb64url(packed)
    for name, lst in (
        ("truncated", b64url(raw[:-1])),
        ("without its checksum", b64url(raw[:-4])),
        ("with a tail", b64url(raw + b"\0")),
        ("another length", b64url(_zeros(255))),
        ("one byte too long", b64url(_zeros(257))),
        ("zip bomb", b64url(_zeros(200_000))),
        ("not zlib", b64url(bytes(40))),
        ("with padding", packed + "="),
    ):
        yield fails(name, {"lst": lst, "index": 0}, "malformed")


def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def pseudonyms() -> Iterable[Case]:
    """Yield names of residents and commitments to them."""
    for number in (1, 2):
        key = seed(f"resident {number}", 32)
        salt = seed(f"salt {number}", 16)
        name = handle(key, HOLDER)
        given = {
            "resident_key": key.hex(),
            "node": HOLDER,
            "city": "hoshino",
            "salt": salt.hex(),
        }
        result = {
            "handle": name,
            "locator": locator(key, HOSHINO.id),
            "commitment": commitment(salt, HOLDER, name),
        }
        yield passes(f"resident {number}", given, result)
