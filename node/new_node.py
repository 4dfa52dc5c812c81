# SPDX-License-Identifier: Apache-2.0
"""How a new node comes into being: folder, settings, keys, certificate, join request.

    made = create(answers, folder, now_ms=…, entropy=…)

What there is already stays: a second try after a failure goes on where the first one
stopped, and never makes a key or a settings file anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from identity.secretfile import write_new
from node.config import Settings
from node.config_file import FILE_NAME, load, render_file
from node.keys import create_keys, node_keys
from node.tls import self_signed, write_pair
from protocol.ids import NodeId, uuid7
from protocol.membership import JoinRequest, Role
from protocol.signature import sign
from protocol.suites import Suite

JOIN_REQUEST_FILE = "join-request.jws"
JOIN_REQUEST_DAYS = 30
_DAY_S = 86_400
_KEY_FILE_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the operator decides.

    Attributes:
        node: id of the node.
        title_ja, title_en: name of the organization.
        roles: what it does.
        suite: its algorithms.
        brokers: URLs of the city's brokers.
        passphrase_file: file with the passphrase; it must be there.
        key_file: file with the master key; made if it is not there.
        hosts: names and addresses under which a broker listens.
        settings: further settings by dotted name, such as `api.port`.
    """

    node: NodeId
    title_ja: str = ""
    title_en: str = ""
    roles: tuple[Role, ...] = (Role.VAULT,)
    suite: Suite = Suite.HYBRID
    brokers: tuple[str, ...] = ()
    passphrase_file: Path | None = None
    key_file: Path | None = None
    hosts: tuple[str, ...] = ("localhost",)
    settings: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class NewNode:
    """What was made.

    Attributes:
        settings: the settings as read back from the file.
        config_file: where they stand.
        join_request: file to hand to the city.
        fingerprint: the node key's name, to be compared by telephone.
    """

    settings: Settings
    config_file: Path
    join_request: Path
    fingerprint: str


def create(
    answers: Answers, folder: Path, *, now_ms: int, entropy: Callable[[int], bytes]
) -> NewNode:
    """Set up a node in `folder`.

    Raises:
        BadSettings: the answers contradict each other.
        Misuse: the master key's file is missing, unsafe or wrong.
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    config_file = folder / FILE_NAME
    if not config_file.exists():
        text = render_file(_chosen(answers))
        handle = os.open(config_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    settings = load(config_file, {})
    if settings.master_key.key_file and not settings.master_key.key_file.exists():
        write_new(settings.master_key.key_file, entropy(_KEY_FILE_BYTES))
    path, name = write_join_request(settings, folder, now_ms=now_ms, entropy=entropy)
    if Role.BROKER in settings.node.roles:
        _create_certificate(settings, answers.hosts, now_ms, entropy)
    return NewNode(settings, config_file, path, name)


def _chosen(answers: Answers) -> dict[str, object]:
    chosen: dict[str, object] = {
        "data_dir": ".",
        "node.id": answers.node,
        "node.title.ja": answers.title_ja,
        "node.title.en": answers.title_en,
        "node.roles": answers.roles,
        "suite": answers.suite,
        **dict(answers.settings),
    }
    if answers.brokers:
        chosen["brokers"] = answers.brokers
    # Absolute: a key file usually lies on another medium than the data.
    for name in ("passphrase_file", "key_file"):
        path: Path | None = getattr(answers, name)
        if path is not None:
            chosen[f"master_key.{name}"] = path.resolve()
    return chosen


def write_join_request(
    settings: Settings,
    folder: Path,
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
    new_keys: bool = False,
) -> tuple[Path, str]:
    """Write a join request, good for 30 days, over an older one.

    Args:
        settings: of the node.
        folder: where the file goes.
        now_ms: milliseconds since 1970.
        entropy: random bytes.
        new_keys: make new keys for it: the present ones were lost or stolen.

    Returns:
        The file, and the fingerprint of the key that it brings.

    Raises:
        Misuse: the master key's file is missing, unsafe or wrong.
    """
    request, kid = _join_request(settings, now_ms, entropy, new_keys)
    path = folder / JOIN_REQUEST_FILE
    path.write_text(request, encoding="ascii")
    return path, fingerprint(kid)


def _join_request(
    settings: Settings,
    now_ms: int,
    entropy: Callable[[int], bytes],
    new_keys: bool,
) -> tuple[str, str]:
    store = create_keys(settings, entropy)
    own = node_keys(store)
    pair = own.fresh(settings.suite) if new_keys else own.newest
    signer = pair.signer
    titles = {"ja": settings.node.title.ja, "en": settings.node.title.en}
    now = now_ms // 1000
    claims = JoinRequest(
        iss=settings.node.id,
        sub=settings.node.id,
        aud=settings.city_id,
        jti=str(uuid7(now_ms, entropy(10))),
        iat=now,
        exp=now + JOIN_REQUEST_DAYS * _DAY_S,
        title={language: title for language, title in titles.items() if title},
        key=signer.public.jwk,
        sealing=pair.opening.public.document,
        roles=settings.node.roles,
    )
    return sign(signer, "join-request", claims).token, signer.public.kid


def _create_certificate(
    settings: Settings,
    hosts: tuple[str, ...],
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> None:
    certificate_file, key_file = settings.link_certificate
    if certificate_file.exists() or key_file.exists():
        return
    pair = self_signed(settings.node.id, hosts, now_ms=now_ms, entropy=entropy)
    write_pair(*pair, certificate_file, key_file)


def fingerprint(kid: str) -> str:
    """Return eight groups of four digits that two people can compare by voice."""
    number = int.from_bytes(hashlib.sha256(kid.encode("ascii")).digest()[:14], "big")
    digits = f"{number % 10**32:032d}"
    return " ".join(digits[i : i + 4] for i in range(0, 32, 4))
