# SPDX-License-Identifier: Apache-2.0
"""The operating key at the authority, and how it is replaced while the city goes on.

    request = keys.request(city, …)      # a fresh key proves itself; goes to the root
    change = judge_change(wire, …)       # what the root brings back

Like a node's keys (`identity.node_keys`) generations are files: `operating`, then
`operating-2` and so on. The present one is that whose certificate the broker shows.
An old private key is destroyed as soon as the new one signs: others need only the old
public key, and for that there is its certificate.
"""

from __future__ import annotations

from identity.entropy import Entropy, new_id
from identity.errors import Conflict, NotFound
from identity.keys import KeyStore
from protocol.errors import Malformed
from protocol.ids import CityId
from protocol.model import Claims, Document
from protocol.request import Token
from protocol.signature import Received, Signed, SingleKey, sign
from protocol.succession import Succession
from protocol.suites import SigningKey, Suite, VerifyingKey

OPERATING_REQUEST = "operating-request"
_LIFE_S = 30 * 86_400


class OperatingRequest(Claims):
    """An operating key asks the root to be certified; it signs that itself.

    Attributes:
        key: the key.
    """

    sub: CityId
    key: dict[str, str]

    @classmethod
    def verify(cls, token: str, now: int, skew_s: int = 300) -> OperatingRequest:
        """Check that somebody holds the key; whose it is, people compare.

        Raises:
            ProtocolViolation: any fault.
        """
        received = Received.parse(token, OPERATING_REQUEST)
        claimed = received.peek(cls)
        key = VerifyingKey.from_jwk(claimed.key)
        signed = received.verify(cls, SingleKey(claimed.sub, key))
        signed.body.check_times(now, skew_s)
        return signed.body


class CityChange(Document):
    """What the root's desk hands back to the authority, in one file.

    Attributes:
        operating: the new operating certificate.
        succession: where the root itself was replaced.
    """

    operating: Token
    succession: Succession | None = None


class OperatingKeys:
    """The authority's operating keys; satisfies `protocol.suites.Signer`."""

    def __init__(self, store: KeyStore, name: str) -> None:
        """Open the first key that there is; `use` says which one is present.

        Args:
            store: the key files.
            name: of the first generation.

        Raises:
            NotFound: there is none.
        """
        self._store, self._name = store, name
        numbers = self._numbers()
        if not numbers:
            raise NotFound(f"there is no key {name}")
        self._present = numbers[0]
        self._key = self._open(numbers[0])

    @property
    def public(self) -> VerifyingKey:
        """The present operating key."""
        return self._key.public

    def sign(self, data: bytes) -> bytes:
        """Return the present key's signature over `data`."""
        return self._key.sign(data)

    def has(self, key: VerifyingKey) -> bool:
        """Tell whether an operating key is ours."""
        return any(self._open(n).public == key for n in self._numbers())

    def use(self, key: VerifyingKey) -> bool:
        """Sign with this key from now on and destroy older ones; True if it is new.

        Raises:
            Conflict: it is not ours.
        """
        for number in self._numbers():
            found = self._open(number)
            if found.public == key:
                break
        else:
            raise Conflict("the certificate is for another operating key than ours")
        new = found.public != self._key.public
        self._present, self._key = number, found
        for older in self._numbers():
            if older < number:
                self._store.destroy(self._file(older))
        return new

    def request(
        self, city: CityId, suite: Suite, *, fresh: bool, now: int, entropy: Entropy
    ) -> Signed[OperatingRequest]:
        """Write a request for the root to certify an operating key.

        Args:
            city: ours.
            suite: of a fresh key.
            fresh: a new key, else the present one, whose certificate ends soon.
            now: seconds since 1970.
            entropy: random bytes.
        """
        key = self._fresh(suite) if fresh else self._key
        claims = OperatingRequest(
            iss=city,
            aud=city,
            jti=new_id(now, entropy),
            iat=now,
            exp=now + _LIFE_S,
            sub=city,
            key=key.public.jwk,
        )
        return sign(key, OPERATING_REQUEST, claims)

    def _fresh(self, suite: Suite) -> SigningKey:
        """Return the next key, on disk; made if there is none yet."""
        newest = self._numbers()[-1]
        if newest > self._present:
            waiting = self._open(newest)
            if waiting.suite is suite:
                return waiting
        return self._store.create_signing(self._file(newest + 1), suite)

    def _open(self, number: int) -> SigningKey:
        return self._store.signing(self._file(number))

    def _file(self, number: int) -> str:
        return self._name if number == 1 else f"{self._name}-{number}"

    def _numbers(self) -> list[int]:
        found = [1] if self._name in self._store.names() else []
        for name in self._store.names():
            stem, _, number = name.rpartition("-")
            if stem == self._name and number.isdecimal():
                found.append(int(number))
        return sorted(found)


def read_change(wire: bytes) -> CityChange:
    """Read the file from the root's desk.

    Raises:
        Malformed: it is none.
    """
    try:
        return CityChange.model_validate_json(wire)
    except ValueError as error:
        raise Malformed("not a file from the root's desk") from error
