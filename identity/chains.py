# SPDX-License-Identifier: Apache-2.0
"""What the root of each city has said of its keys: who follows whom, and what is over.

    roots        R1 --succession--> R2 --> …    (both sign; `protocol.succession`)
    operating    certificate 1, 2, …            (the root signs; each names the keys
                                                 before it and when their overlap ends)

Rules:
 1. A line of roots only grows at its end, by the next sequence. So a stolen old root
    moves nobody who has followed the line, and a second line for the same city is
    refused as a conflict.
 2. The newest certificate decides which operating keys are over, wherever it came from:
    only the root makes one. An older certificate never takes its place.
 3. An earlier root or operating key is accepted until the end that its successor says.

In memory, for one thread; `identity.trust_documents` keeps it over a restart.
"""

from __future__ import annotations

from collections.abc import Iterable

from identity.errors import ConflictingRoot, KeyRevoked
from protocol.errors import ProtocolViolation
from protocol.ids import CityId
from protocol.membership import (
    OPERATING,
    OperatingCertificate,
    verify_operating,
)
from protocol.signature import Received, Signed
from protocol.succession import MAX_SUCCESSIONS, RootSuccession, Succession
from protocol.suites import VerifyingKey, thumbprint

_MAX_KEYS = 4


class Chains:
    """The keys of all cities, by what their roots have signed."""

    def __init__(self, *, skew_s: int) -> None:
        """Start without cities; `skew_s` is how far two clocks may differ."""
        self._skew_s = skew_s
        self._lines: dict[CityId, list[tuple[Succession, RootSuccession]]] = {}
        self._newest: dict[CityId, Signed[OperatingCertificate]] = {}
        self._keys: dict[CityId, dict[str, Signed[OperatingCertificate]]] = {}

    # ------------------------------------------------------------------- roots

    def follow(self, city: CityId, root: VerifyingKey) -> VerifyingKey:
        """Return the root that stands at the end of the line that `root` is in."""
        line = self._lines.get(city)
        if not line:
            return root
        kids = {thumbprint(said.previous) for _, said in line}
        return line[-1][1].new_key() if root.kid in kids else root

    def root_named(self, city: CityId, known: VerifyingKey, kid: str) -> VerifyingKey:
        """Return the root of that name in the line, else the present one."""
        for _, said in self._lines.get(city, []):
            if thumbprint(said.previous) == kid:
                return said.old_key()
        return self.follow(city, known)

    def successions(self, city: CityId) -> tuple[Succession, ...] | None:
        """Return the line of a city as it is told to others; None without one."""
        line = [made for made, _ in self._lines.get(city, [])]
        return tuple(line[-MAX_SUCCESSIONS:]) or None

    def sequence(self, city: CityId) -> int:
        """Return the sequence of a city's last succession; 0 without one."""
        line = self._lines.get(city)
        return line[-1][1].sequence if line else 0

    def accepts(
        self, city: CityId, known: VerifyingKey, root: VerifyingKey, now: int
    ) -> bool:
        """Tell whether what `root` signed counts where `known` is the city's root."""
        present = self.follow(city, known)
        if root == present:
            return True
        return any(
            thumbprint(said.previous) == root.kid and said.until > now
            for _, said in self._lines.get(city, [])
        )

    def take_line(
        self, city: CityId, known: VerifyingKey, told: Iterable[Succession] | None
    ) -> bool:
        """Follow a city's successions from the root that we know; True if it moved.

        Args:
            city: whose.
            known: its root as we know it, also an old one.
            told: the latest ones, in their order.

        Raises:
            ConflictingRoot: another line than the one that we have followed.
            ProtocolViolation: a faulty succession.
        """
        line = self._lines.get(city, [])
        have = {made.by_old for made, _ in line}
        fresh = [
            (one, one.verify(city).body) for one in told or () if one.by_old not in have
        ]
        end = self.follow(city, known)
        start = line[0][1].old_key() if line else known
        for place, (_, said) in enumerate(fresh):
            if said.new_key() == start:
                del fresh[: place + 1]  # From before the root that we pinned.
                break
        last = line[-1][1].sequence if line else 0
        for made, said in fresh:
            if said.sequence <= last or said.old_key() != end:
                raise ConflictingRoot(f"{city} has another line of roots than told")
            line = [*line, (made, said)]
            last, end = said.sequence, said.new_key()
        self._lines[city] = line
        return bool(fresh)

    # --------------------------------------------------------------- operating

    def verify(
        self, token: str, city: CityId, known: VerifyingKey, now: int
    ) -> Signed[OperatingCertificate]:
        """Check an operating certificate, and that a newer one has not ended its key.

        Args:
            token: the certificate.
            city: whose.
            known: its root as we know it, also an old one.
            now: seconds since 1970.

        Raises:
            KeyRevoked: its key was replaced, and the overlap is over.
            ProtocolViolation: any other fault.
        """
        root = self._signer_of(token, city, known, now)
        signed = verify_operating(token, city, root, now, self._skew_s)
        self.check(city, signed.body, now)
        self._take(city, signed)
        return signed

    def _signer_of(
        self, token: str, city: CityId, known: VerifyingKey, now: int
    ) -> VerifyingKey:
        present = self.follow(city, known)
        kid = Received.parse(token, OPERATING).kid
        if kid != present.kid:
            for _, said in self._lines.get(city, []):
                if thumbprint(said.previous) == kid and said.until > now:
                    return said.old_key()
        return present

    def check(self, city: CityId, shown: OperatingCertificate, now: int) -> None:
        """Refuse a certificate whose key a newer one has ended.

        Raises:
            KeyRevoked: as named.
        """
        newest = self._newest.get(city)
        if newest is None or newest.body.sequence is None:
            return  # Nothing was ever replaced.
        kid, last = thumbprint(shown.key), newest.body
        if kid == thumbprint(last.key) or _rank(shown) > _rank(last):
            return
        for one in last.earlier or ():
            if one.kid == kid and one.until > now:
                return
        raise KeyRevoked(f"the operating key of {city} was replaced")

    def _take(self, city: CityId, signed: Signed[OperatingCertificate]) -> None:
        keys = self._keys.setdefault(city, {})
        keys[thumbprint(signed.body.key)] = signed
        while len(keys) > _MAX_KEYS:
            del keys[next(iter(keys))]
        newest = self._newest.get(city)
        if newest is None or _age(signed.body) > _age(newest.body):
            self._newest[city] = signed

    def key_named(self, city: CityId, kid: str, now: int) -> VerifyingKey | None:
        """Return an operating key of a city by its name, if it counts now."""
        found = self._keys.get(city, {}).get(kid)
        if found is None or found.body.exp <= now:
            return None
        try:
            self.check(city, found.body, now)
        except ProtocolViolation:
            return None
        return found.body.verifying_key()

    def certificate_named(self, city: CityId, kid: str) -> str | None:
        """Return the certificate of an operating key, as it came."""
        found = self._keys.get(city, {}).get(kid)
        return None if found is None else found.token

    def newest(self, city: CityId) -> Signed[OperatingCertificate] | None:
        """Return the newest certificate that we have seen of a city."""
        return self._newest.get(city)

    def forget(self, city: CityId) -> None:
        """Forget everything of a city, on an operator's word."""
        for memory in (self._lines, self._newest, self._keys):
            memory.pop(city, None)

    def cities(self) -> tuple[CityId, ...]:
        """Return the cities that anything is known of."""
        return tuple(sorted({*self._lines, *self._newest}))


def _rank(certificate: OperatingCertificate) -> int:
    return certificate.sequence or 0


def _age(certificate: OperatingCertificate) -> tuple[int, int]:
    return _rank(certificate), certificate.iat
