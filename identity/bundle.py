# SPDX-License-Identifier: Apache-2.0
"""The trust bundle: what a city tells its members about itself and other cities.

The city's broker makes it from what it verified itself (agreements, announcements), and
every member accepts it only from its own city. It is the only way in which a member
comes to know another city's keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from identity.entropy import Entropy, new_id
from protocol.errors import Malformed, WrongAudience
from protocol.ids import CityId, NodeId
from protocol.route import MAX_BUNDLE_BYTES, TRUST_BUNDLE, Bundle, CityKeys
from protocol.sealed import PublicSealingKey
from protocol.signature import Received, Signed, SingleKey, sign
from protocol.suites import Signer, VerifyingKey


def issue_bundle(
    operating: Signer,
    city: CityId,
    *,
    cities: tuple[CityKeys, ...],
    paths: Mapping[CityId, tuple[CityId, ...]],
    removed: tuple[NodeId, ...],
    life_s: int,
    now: int,
    entropy: Entropy,
    brokers: tuple[str, ...] = (),
    tokens: Mapping[CityId, PublicSealingKey] | None = None,
    sequence: int = 0,
) -> Signed[Bundle]:
    """Sign the bundle.

    Args:
        operating: the city's operating key.
        city: the city.
        cities: verified keys, this city's own among them.
        paths: city to path, nearest first, without the city itself.
        removed: nodes whose memberships no longer count (`Authority.removed`).
        life_s: how long members may rely on it, in seconds.
        now: seconds since 1970.
        entropy: source of random bytes.
        brokers: where this city's brokers listen.
        tokens: city to the key that location tokens for it are sealed to.
        sequence: grows with each bundle of this city.
    """
    claims = Bundle(
        iss=city,
        aud=city,
        jti=new_id(now, entropy),
        iat=now,
        exp=now + life_s,
        cities=cities,
        paths={str(name): path for name, path in paths.items()},
        removed=removed,
        brokers=brokers,
        tokens={str(name): key for name, key in (tokens or {}).items()},
        sequence=sequence,
    )
    return sign(operating, TRUST_BUNDLE, claims)


def verify_bundle(
    token: str,
    city: CityId,
    operating_of: Callable[[CityKeys], VerifyingKey],
    now: int,
    skew_s: int,
) -> Signed[Bundle]:
    """Check a bundle against our own city's root key.

    Steps:
     1. The bundle's entry about our own city brings the operating certificate, which
        our root must have signed: so a new operating key needs no other way in. It
        also brings the successions of the root, so a new root needs none either.
     2. That operating key, and no other, must have signed the bundle.
     3. It is for our city, within its time, and names no city twice.

    Args:
        token: the bundle.
        city: ours.
        operating_of: checks our own city's keys and returns its operating key.
        now: seconds since 1970.
        skew_s: how far two clocks may differ.

    Raises:
        ProtocolViolation: any fault.
    """
    received = Received.parse(token, TRUST_BUNDLE, max_bytes=MAX_BUNDLE_BYTES)
    claimed = {keys.city: keys for keys in received.peek(Bundle).cities}
    own = claimed.get(city)
    if own is None:
        raise Malformed("the bundle does not speak of our own city")
    operating = operating_of(own)
    signed = received.verify(Bundle, SingleKey(city, operating))
    signed.body.check_times(now, skew_s)
    if signed.body.aud != city:
        raise WrongAudience("the bundle is for another city")
    if len(claimed) != len(signed.body.cities):
        raise Malformed("the bundle contradicts itself about a city")
    for key in signed.body.tokens.values():
        key.load()
    return signed
