# SPDX-License-Identifier: Apache-2.0
"""Setting up a node: private files, a request that verifies, and nothing made twice."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from identity.errors import NotFound, UnsafeFile, WrongPassphrase
from node.config_file import BadSettings, load
from node.keys import SEALING, SECRETS, SIGNING, open_keys
from node.new_node import Answers, NewNode, create, fingerprint
from node.tls import server_context
from protocol.errors import Misuse
from protocol.ids import NodeId
from protocol.membership import JoinRequest, Role
from protocol.suites import Suite
from tests.node.conftest import START_MS, CountedEntropy


def answers(folder: Path, suite: Suite = Suite.HYBRID, *roles: Role) -> Answers:
    """Return the answers of an operator with a key file on another medium."""
    return Answers(
        node=NodeId("hoshino/clinic"),
        title_ja="星野医院",
        roles=roles or (Role.VAULT, Role.PORTAL),
        suite=suite,
        brokers=("wss://broker.example:8443",),
        key_file=folder / "medium" / "master.key",
    )


def make(folder: Path, chosen: Answers, calls: int = 0) -> NewNode:
    """Set a node up."""
    entropy = CountedEntropy(calls)
    return create(chosen, folder / "data", now_ms=START_MS, entropy=entropy)


@pytest.mark.parametrize("suite", list(Suite))
def test_new_node_can_open_its_keys_and_asks_to_join(
    tmp_path: Path, suite: Suite
) -> None:
    """The request is signed by the key it brings, for the right city."""
    made = make(tmp_path, answers(tmp_path, suite))
    settings = load(made.config_file, {})
    assert settings == made.settings
    store = open_keys(settings, CountedEntropy(calls=900))
    request = JoinRequest.verify(made.join_request.read_text(encoding="ascii")).body
    assert (request.sub, request.aud) == ("hoshino/clinic", "hoshino")
    assert request.key == store.signing(SIGNING).public.jwk
    assert request.sealing == store.opening(SEALING).public.document
    assert request.title == {"ja": "星野医院"}
    assert request.roles == (Role.VAULT, Role.PORTAL)
    assert made.fingerprint == fingerprint(store.signing(SIGNING).public.kid)
    assert len({store.secret(name) for name in SECRETS}) == 3


def test_everything_secret_is_private(tmp_path: Path) -> None:
    """No other user of the machine can read a key or the settings."""
    make(tmp_path, answers(tmp_path, Suite.HYBRID, Role.BROKER))
    public = {"join-request.jws", "tls.crt"}
    for path in tmp_path.rglob("*"):
        allowed = 0o700 if path.is_dir() else 0o600
        if path.name not in public:
            assert stat.S_IMODE(path.stat().st_mode) == allowed, path.name


def test_keys_are_not_stored_in_clear(tmp_path: Path) -> None:
    """Without the key file, the data folder opens nothing."""
    made = make(tmp_path, answers(tmp_path))
    store = open_keys(made.settings, CountedEntropy())
    seeds = [store.signing(SIGNING).seed, *(store.secret(name) for name in SECRETS)]
    stored = b"".join(p.read_bytes() for p in (tmp_path / "data").rglob("*.*"))
    assert not any(seed in stored for seed in seeds)
    made.settings.master_key.key_file.write_bytes(bytes(32))  # type: ignore[union-attr]  # set by `answers`
    with pytest.raises(WrongPassphrase):
        open_keys(made.settings, CountedEntropy())


def test_second_run_keeps_keys_and_settings(tmp_path: Path) -> None:
    """An operator who repeats the command must not lose the node's identity."""
    first = make(tmp_path, answers(tmp_path))
    first.config_file.write_text(
        first.config_file.read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8"
    )
    second = make(tmp_path, answers(tmp_path, Suite.STRICT), calls=500)
    assert second.fingerprint == first.fingerprint
    assert second.settings.suite is Suite.HYBRID
    assert first.config_file.read_text(encoding="utf-8").endswith("# mine\n")


def test_broker_gets_a_certificate_and_others_none(tmp_path: Path) -> None:
    """Only brokers listen."""
    make(tmp_path / "a", answers(tmp_path / "a"))
    assert not list((tmp_path / "a").rglob("tls.*"))
    made = make(tmp_path / "b", answers(tmp_path / "b", Suite.HYBRID, Role.BROKER))
    server_context(*made.settings.link_certificate)


def test_passphrase_file_must_be_there_private_and_long(tmp_path: Path) -> None:
    """Each mistake is told by itself, and trying again works."""
    file = tmp_path / "passphrase"
    chosen = Answers(node=NodeId("hoshino/clinic"), passphrase_file=file)
    with pytest.raises(NotFound):
        make(tmp_path, chosen)
    file.write_text("correct horse battery staple\n", encoding="ascii")
    file.chmod(0o644)
    with pytest.raises(UnsafeFile, match="0600"):
        make(tmp_path, chosen)
    file.chmod(0o600)
    file.write_text("short\n", encoding="ascii")
    with pytest.raises(Misuse, match="at least"):
        make(tmp_path, chosen)
    file.write_text("correct horse battery staple\n", encoding="ascii")
    made = make(tmp_path, chosen)
    assert open_keys(made.settings, CountedEntropy()).has(SIGNING)


def test_node_without_a_source_of_its_master_key_is_refused(tmp_path: Path) -> None:
    """There is no default that would be safe."""
    with pytest.raises(Misuse, match="passphrase_file or"):
        make(tmp_path, Answers(node=NodeId("hoshino/clinic")))


def test_contradicting_answers_are_refused(tmp_path: Path) -> None:
    """The settings are checked as at every start."""
    chosen = Answers(
        node=NodeId("hoshino/clinic"),
        key_file=tmp_path / "k",
        settings=(("api.port", 70_000),),
    )
    with pytest.raises(BadSettings, match=r"api\.port"):
        make(tmp_path, chosen)


def test_fingerprint_can_be_read_over_the_telephone() -> None:
    """Digits in groups, different for different keys."""
    assert fingerprint("a" * 43) == fingerprint("a" * 43)
    assert fingerprint("a" * 43) != fingerprint("b" * 43)
    groups = fingerprint("a" * 43).split(" ")
    assert [len(g) for g in groups] == [4] * 8
    assert all(g.isdigit() for g in groups)
