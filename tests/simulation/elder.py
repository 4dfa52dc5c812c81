# SPDX-License-Identifier: Apache-2.0
"""A node of version 1, as another implementation would have been written then.

Nothing of this product's protocol code is used: bytes follow `docs/protocol.md` of
version 1 alone. It links to its broker, asks for one read, and answers one. Of what it
knows of others it takes only what its stores held when it was last updated.

Version 1 has no capabilities, takes envelopes of version 1 only, seals bodies to the
other end's key, and reads location keys from the broker's membership.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.ports import Pipe, PipeClosed

Json: TypeAlias = dict[str, Any]  # Read by hand here, as the peer's own parser would.

SUITE = hpke.Suite(
    hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM
)
REQUEST, ANSWER, PING, PONG, CLOSE = 1, 2, 7, 8, 9
MORE, PROBLEM = 1, 2


class Refused(Exception):
    """The listener did not let us link; its code."""


def b64(data: bytes) -> str:
    """Returns base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Reads base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: object) -> bytes:
    """Returns canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def digest(data: bytes) -> str:
    """Returns the name of a document."""
    return b64(hashlib.sha256(data).digest())


def payload_of(token: str) -> Json:
    """Returns the claims of a token, unverified."""
    claims: Json = json.loads(unb64(token.split(".")[1]))
    return claims


def verified(token: str, kind: str, jwk: Json) -> Json:
    """Returns the claims of a token that this key has signed."""
    protected, _, signature = token.split(".")
    header = json.loads(unb64(protected))
    assert header["typ"] == f"machikura-{kind}+jws" and header["alg"] == "Ed25519"
    key = Ed25519PublicKey.from_public_bytes(unb64(jwk["x"]))
    key.verify(unb64(signature), token.rpartition(".")[0].encode())
    return payload_of(token)


def sealed_to(key: Json, label: str, context: bytes, plaintext: bytes) -> bytes:
    """Seals with HPKE to a key as it stands in a membership."""
    raw = unb64(key["pub"])
    public = hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:1184]),
        x25519.X25519PublicKey.from_public_bytes(raw[1184:]),
    )
    return SUITE.encrypt(plaintext, public, label.encode() + b"\0" + context)


def answer_keys(response_key: bytes, request: str) -> tuple[bytes, bytes]:
    """Returns the key of an answer, and the key of its nonce."""
    both = HKDF(hashes.SHA256(), 64, unb64(request), b"machikura answer 1").derive(
        response_key
    )
    return both[:32], both[32:]


@dataclass
class Elder:
    """One node.

    Attributes:
        node: its id.
        signing_seed, sealing_seed: its private keys.
        membership, operating: its credentials.
        now_ms: clock.
        draw: chance.
        records: what it releases to whoever asks under a consent.
        released: requests that it has answered with records.
    """

    node: str
    signing_seed: bytes
    sealing_seed: bytes
    membership: str
    operating: str
    now_ms: Callable[[], int]
    draw: Callable[[int], bytes]
    records: list[Json] = field(default_factory=list)
    released: list[Json] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Derive the keys as section 3 says."""
        self._signer = Ed25519PrivateKey.from_private_bytes(self.signing_seed[:32])
        self._opening = hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(self.sealing_seed[:64]),
            x25519.X25519PrivateKey.from_private_bytes(self.sealing_seed[64:]),
        )
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._stream = -1
        self._reader: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------- the link

    async def link(self, pipe: Pipe) -> Json:
        """Dials; returns what the listener chose."""
        credentials = {"membership": self.membership, "operating": self.operating}
        hello = canonical(
            {
                "type": "hello",
                "versions": [1],
                "suites": ["hybrid"],
                "nonce": b64(self.draw(32)),
                "credentials": b64(canonical(credentials)),
            }
        )
        await pipe.send(hello)
        answer = json.loads(await pipe.receive())
        if answer["type"] == "refused":
            await pipe.close()
            raise Refused(answer["code"])
        body = answer["body"].encode()
        chosen: Json = json.loads(body)
        transcript = _hash(hello, body, pipe.certificate_hash)
        shown = json.loads(unb64(chosen["credentials"]))
        signature = unb64(answer["signature"])
        broker = Ed25519PublicKey.from_public_bytes(
            unb64(payload_of(shown["membership"])["key"]["x"])
        )
        broker.verify(signature, b"machikura link listener\0" + transcript)
        proof = b"machikura link dialer\0" + _hash(transcript, signature)
        await pipe.send(
            canonical({"type": "auth", "signature": b64(self._signer.sign(proof))})
        )
        assert json.loads(await pipe.receive()) == {"type": "done"}
        self._pipe = pipe
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return chosen

    async def hang_up(self) -> None:
        """Ends the link."""
        assert self._reader is not None
        self._reader.cancel()
        await self._pipe.close()

    async def _read(self) -> None:
        while True:
            try:
                packet = await self._pipe.receive()
            except PipeClosed:
                return
            while packet:
                kind, flags = packet[0], packet[1]
                stream = int.from_bytes(packet[2:6], "big")
                size = int.from_bytes(packet[6:10], "big")
                await self._take(kind, flags, stream, packet[10 : 10 + size])
                packet = packet[10 + size :]

    async def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == REQUEST and not flags:
            await self._send(ANSWER, stream, self.answer(payload))
        elif kind == ANSWER and stream in self._asked:
            assert not flags, payload
            self._asked.pop(stream).set_result(payload)
        elif kind == PING:
            await self._send(PONG, 0, payload)
        # Notices are trust bundles; it knows whom it needs.

    async def _send(self, kind: int, stream: int, payload: bytes) -> None:
        head = bytes((kind, 0)) + stream.to_bytes(4, "big")
        await self._pipe.send(head + len(payload).to_bytes(4, "big") + payload)

    # --------------------------------------------------------------------- asking

    async def read(self, holder: str, warrant: Json, broker: str, home: Json) -> Json:
        """Asks for checkups; returns the claims of the answer, verified.

        Args:
            holder: membership of the holder.
            warrant: consent, ticket, proof, home.
            broker: membership of the broker of the holder's city.
            home: unused members of the request's header: type, purpose, class.
        """
        member, carrier = payload_of(holder), payload_of(broker)
        city = str(member["iss"])
        consent = digest(warrant["consent"].encode())
        place = {
            "node": member["sub"],
            "exp": self.now_ms() // 1000 + 600,
            "consent": consent,
            "nonce": b64(self.draw(12)),
        }
        token = sealed_to(
            carrier["sealing"],
            "machikura location token 1",
            city.encode(),
            canonical(place),
        )
        header = canonical(
            {
                "v": 1,
                "id": _uuid7(self.now_ms(), self.draw(10)),
                "kind": "read",
                "sender": self.node,
                "to": {"city": city, "token": b64(token)},
                "consent": consent,
                "hops": 6,
                "iat_ms": self.now_ms(),
                "deadline_ms": self.now_ms() + 10_000,
                **home,
            }
        )
        response_key = self.draw(32)
        body = {
            "sender": {"membership": self.membership, "operating": self.operating},
            "response_key": b64(response_key),
            "query": {"op": "read", "limit": 100, "warrant": warrant},
        }
        sealed = sealed_to(
            member["sealing"], "machikura body 1", header, canonical(body)
        )
        jws = self._signed(
            "routing", header, {"body": digest(sealed), "size": len(sealed)}
        )
        envelope = b"\1" + len(jws).to_bytes(4, "big") + bytes(4) + jws + sealed
        raw = await self._ask(envelope)
        assert raw[0] == 1, raw
        size = int.from_bytes(raw[1:5], "big")
        hops, answer = raw[5 : 5 + size], raw[5 + size :]
        key, _ = answer_keys(response_key, digest(jws))
        opened = AESGCM(key).decrypt(answer[:12], answer[12:], b"").decode()
        claims = verified(opened, "answer", member["key"])
        assert claims["iss"] == member["sub"] and claims["aud"] == self.node
        assert claims["request"] == digest(jws) and claims["hops"] == digest(hops)
        self._check_chain(hops, digest(jws))
        return claims

    def _check_chain(self, hops: bytes, before: str) -> None:
        for line in hops.splitlines(keepends=True):
            assert json.loads(line)["prev"] == before
            before = digest(line)

    async def _ask(self, envelope: bytes) -> bytes:
        self._stream += 2
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[self._stream] = answer
        await self._send(REQUEST, self._stream, envelope)
        return await answer

    # ------------------------------------------------------------------ answering

    def answer(self, envelope: bytes) -> bytes:
        """Answers a read with all it has; a later version with its refusal."""
        if envelope[0] != 1:
            self.refused.append(envelope[0])
            return b"\2" + bytes(4) + b"unsupported-version"
        end = 9 + int.from_bytes(envelope[1:5], "big")
        body_at = end + int.from_bytes(envelope[5:9], "big")
        jws, hops, sealed = envelope[9:end], envelope[end:body_at], envelope[body_at:]
        protected, payload, _ = jws.decode().split(".")
        extra = json.loads(unb64(protected))
        assert extra["body"] == digest(sealed) and extra["size"] == len(sealed)
        info = b"machikura body 1\0" + unb64(payload)
        body = json.loads(SUITE.decrypt(sealed, self._opening, info))
        root = payload_of(body["sender"]["operating"])["key"]
        sender = verified(body["sender"]["membership"], "membership", root)
        header = verified(jws.decode(), "routing", sender["key"])
        assert header["sender"] == sender["sub"] and header["v"] == 1
        self._check_chain(hops, digest(jws))
        assert body["query"]["op"] == "read"
        consent = payload_of(body["query"]["warrant"]["consent"])
        assert sender["sub"] in consent["recipients"]
        assert self.node in consent["holders"]
        self.released.append(header)
        now = self.now_ms() // 1000
        claims = {
            "iss": self.node,
            "aud": header["sender"],
            "jti": header["id"],
            "iat": now,
            "exp": now + 3600,
            "request": digest(jws),
            "hops": digest(hops),
            "result": {
                "op": "read",
                "records": self.records,
                "fields": sorted(json.loads(self.records[0]["content"])),
                "cut": {},
                "more": False,
            },
        }
        answer = self._signed("answer", canonical(claims), {})
        key, nonce_key = answer_keys(unb64(body["response_key"]), digest(jws))
        nonce = hmac.digest(nonce_key, answer, "sha256")[:12]
        return b"\1" + bytes(4) + nonce + AESGCM(key).encrypt(nonce, answer, b"")

    def _signed(self, kind: str, payload: bytes, extra: Json) -> bytes:
        public = self._signer.public_key().public_bytes_raw()
        jwk = canonical({"crv": "Ed25519", "kty": "OKP", "x": b64(public)})
        header = {
            "alg": "Ed25519",
            "kid": digest(jwk),
            "typ": f"machikura-{kind}+jws",
            **extra,
        }
        signing_input = f"{b64(canonical(header))}.{b64(payload)}".encode()
        return signing_input + b"." + b64(self._signer.sign(signing_input)).encode()


def _hash(*parts: bytes) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(4, "big") + part)
    return found.digest()


def _uuid7(now_ms: int, chance: bytes) -> str:
    raw = bytearray(now_ms.to_bytes(6, "big") + chance)
    raw[6], raw[8] = raw[6] & 0x0F | 0x70, raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
