# SPDX-License-Identifier: Apache-2.0
"""Sets up a city: root key (to be kept offline), broker node, city card.

folder/city-root.key   the root key, sealed under its passphrase: take it offline
folder/broker/         the broker's data folder
folder/city-card.json  what members and other cities need; nothing secret
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from identity.errors import Conflict
from identity.root import RootKey, create_root, fingerprint
from node.city_root import CityCard, write_root
from node.config import Settings
from node.config_file import FILE_NAME, load
from node.database import InlineDatabase
from node.founding import found_city
from node.keys import create_keys
from node.new_node import Answers, NewNode, create
from node.schema import prepare
from node.sqlite import file_engine
from protocol.errors import Misuse
from protocol.ids import CityId, MunicipalCode, NodeId
from protocol.membership import Role
from protocol.suites import Suite

ROOT_KEY_FILE = "city-root.key"
CARD_FILE = "city-card.json"
BROKER_FOLDER = "broker"


@dataclass(frozen=True, kw_only=True)
class CityAnswers:
    """What the city's operator decides.

    Attributes:
        city: its id.
        code: municipal code, where it has one.
        title_ja, title_en: its name.
        suite: algorithms of the city.
        hosts: names and addresses under which its broker is reached.
        port: where the broker listens for links.
        key_file: master key of the broker node; made if it is missing.
        contact: whom other cities call.
        settings: further settings of the broker, by dotted name.
    """

    city: CityId
    code: MunicipalCode | None = None
    title_ja: str = ""
    title_en: str = ""
    suite: Suite = Suite.HYBRID
    hosts: tuple[str, ...] = ("localhost",)
    port: int = 8443
    key_file: Path
    contact: str = ""
    settings: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class NewCity:
    """What was made."""

    card: CityCard
    card_file: Path
    root_file: Path
    broker: Settings
    fingerprint: str


def create_city(
    answers: CityAnswers,
    folder: Path,
    passphrase: bytes,
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> NewCity:
    """Set up a city in `folder`.

    Raises:
        Conflict: there is a root key already; it is never replaced.
        Misuse: the passphrase is shorter than 12 bytes.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    root_file = folder / ROOT_KEY_FILE
    if root_file.exists():
        raise Conflict(f"{root_file.name} exists already and is not replaced")
    node = NodeId(f"{answers.city}/broker")
    url = f"wss://{answers.hosts[0]}:{answers.port}/link"
    made = create(
        Answers(
            node=node,
            title_ja=answers.title_ja,
            title_en=answers.title_en,
            roles=(Role.BROKER, Role.DIRECTORY),
            suite=answers.suite,
            key_file=answers.key_file,
            hosts=answers.hosts,
            settings=(
                ("link.port", answers.port),
                ("link.public_url", url),
                *answers.settings,
            ),
        ),
        folder / BROKER_FOLDER,
        now_ms=now_ms,
        entropy=entropy,
    )
    # Last: a root key is made once, and a wrong setting must not stop a second try.
    root = create_root(
        root_file, answers.city, answers.suite, passphrase, entropy=entropy
    )
    operating = _found(made.settings, root, now_ms // 1000, entropy)
    card = CityCard(
        city=answers.city,
        code=answers.code,
        title={
            language: title
            for language, title in (("ja", answers.title_ja), ("en", answers.title_en))
            if title
        },
        root=root.signer.public.jwk,
        operating=operating,
        brokers=(f"{node}@{url}",),
        contact=answers.contact,
    )
    card_file = folder / CARD_FILE
    card.write(card_file)
    return NewCity(
        card, card_file, root_file, made.settings, fingerprint(root.signer.public)
    )


@dataclass(frozen=True, kw_only=True)
class RelayAnswers:
    """What the operator of a further broker decides.

    Attributes:
        node: its id, such as `hoshino/broker-2`.
        card: the city's card.
        hosts: names and addresses under which it is reached; the first is told.
        port: where it listens for links.
        key_file: its master key; made if it is missing.
        settings: further settings by dotted name.
    """

    node: NodeId
    card: CityCard
    hosts: tuple[str, ...] = ("localhost",)
    port: int = 8443
    key_file: Path
    settings: tuple[tuple[str, object], ...] = ()


def create_relay(
    answers: RelayAnswers,
    folder: Path,
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> NewNode:
    """Set up a further broker of a city in `folder`; the city then admits it.

    Raises:
        Misuse: the card is another city's, or of that very broker.
    """
    card, node = answers.card, answers.node
    if card.city != node.city:
        raise Misuse(f"this is the card of {card.city}")
    if any(entry.partition("@")[0] == node for entry in card.brokers):
        raise Misuse(f"{node} is a broker of the city already")
    made = create(
        Answers(
            node=node,
            title_ja=card.title.get("ja", ""),
            title_en=card.title.get("en", ""),
            roles=(Role.BROKER,),
            suite=card.root_key().suite,
            brokers=card.brokers,
            key_file=answers.key_file,
            hosts=answers.hosts,
            settings=(
                ("link.port", answers.port),
                ("link.public_url", f"wss://{answers.hosts[0]}:{answers.port}/link"),
                *answers.settings,
            ),
        ),
        folder,
        now_ms=now_ms,
        entropy=entropy,
    )
    if not made.settings.root_key_file.exists():
        write_root(made.settings.root_key_file, card.root_key())
    return made


def renew_city(
    folder: Path,
    root: RootKey,
    *,
    now_ms: int,
    entropy: Callable[[int], bytes],
) -> CityCard:
    """Certify a city's operating key for another year; its broker must not run.

    Args:
        folder: as `create_city` made it; the root key may lie elsewhere.
        root: the city's opened root key.
        now_ms: milliseconds since 1970.
        entropy: random bytes.

    Returns:
        The new city card, which replaces the old one.

    Raises:
        Misuse: the root key is not this city's, or broker or card is missing.
    """
    settings = load(folder / BROKER_FOLDER / FILE_NAME, {})
    old = CityCard.read(folder / CARD_FILE)
    if old.root_key() != root.signer.public:
        raise Misuse("this root key is another city's, or was replaced")
    operating = _found(settings, root, now_ms // 1000, entropy)
    card = old.model_copy(update={"operating": operating})
    card.write(folder / CARD_FILE)
    return card


def _found(
    settings: Settings, root: RootKey, now: int, entropy: Callable[[int], bytes]
) -> str:
    """Certify the operating key, admit the broker; return the certificate."""
    write_root(settings.root_key_file, root.signer.public)
    keys = create_keys(settings, entropy)
    engine = file_engine(settings.database_file)
    prepare(engine)

    async def found() -> str:
        database = InlineDatabase(engine)
        try:
            shown = await found_city(
                settings, keys, root, database, now=now, entropy=entropy
            )
            return shown.operating
        finally:
            await database.close()

    try:
        return asyncio.run(found())
    finally:
        engine.dispose()
