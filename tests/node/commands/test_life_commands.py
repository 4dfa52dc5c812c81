# SPDX-License-Identifier: Apache-2.0
"""What operators run at the root's desk, without any node: keys and agreements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from identity.chains import Chains
from identity.operating_keys import OperatingKeys, read_change
from node import cli
from node.city_root import CityCard
from node.config_file import load
from node.keys import OPERATING, open_keys
from node.system import SystemClock, system_entropy
from protocol.agreement import Agreement
from protocol.ending import Ending
from protocol.ids import CityId
from protocol.suites import Suite


@dataclass
class Desk:
    """A folder with two founded cities."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *words: str) -> str:
        """Run a command that must succeed; return what it printed."""
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        captured = self.capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    def fails(self, *words: str) -> str:
        """Run a command that must fail; return what it complained of."""
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code
        return self.capsys.readouterr().err

    def path(self, name: str) -> str:
        """Return a file of the desk."""
        return str(self.folder / name)

    def root(self, city: str) -> list[str]:
        """Return the options that open a city's root key."""
        return [
            "--root",
            self.path(f"{city}/city-root.key"),
            "--root-passphrase-file",
            self.path("passphrase"),
        ]

    def card(self, city: str) -> CityCard:
        """Return a city's card."""
        return CityCard.read(self.folder / city / "city-card.json")


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Found two cities once: a root's passphrase takes its time."""
    folder = tmp_path_factory.mktemp("desk")
    passphrase = folder / "passphrase"
    passphrase.write_text("correct horse battery staple\n", encoding="ascii")
    passphrase.chmod(0o600)
    for city in ("hoshino", "minato"):
        words = ["city", "create", str(folder / city), "--city", city]
        words += ["--host", "127.0.0.1", "--key-file", str(folder / f"{city}.key")]
        words += ["--root-passphrase-file", str(passphrase), "--json"]
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert not ended.value.code
    return folder


@pytest.fixture
def desk(cities: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """Return the desk."""
    capsys.readouterr()
    return Desk(cities, capsys)


def _request(desk: Desk, city: str, name: str) -> str:
    """Write what `city key-request` would bring from the running authority."""
    settings = load(desk.folder / city / "broker" / "node.toml", {})
    keys = OperatingKeys(open_keys(settings, system_entropy), OPERATING)
    asked = keys.request(
        CityId(city),
        Suite.HYBRID,
        fresh=True,
        now=SystemClock().now_ms() // 1000,
        entropy=system_entropy,
    )
    (desk.folder / name).write_text(asked.token, encoding="ascii")
    return desk.path(name)


def test_operating_key_and_root_are_replaced_at_the_desk(desk: Desk) -> None:
    """One file each; whoever knows the first root follows both."""
    first = desk.card("hoshino")
    known, chains = first.root_key(), Chains(skew_s=5)
    now = SystemClock().now_ms() // 1000 + 5
    file = _request(desk, "hoshino", "request.jws")
    out = desk.path("change.json")
    certify = ["city", "certify", file, "--card", desk.path("hoshino"), "--out", out]
    desk.fails(*certify, *desk.root("hoshino"), "--confirm", "0000 1111")
    desk.fails(*certify, *desk.root("minato"), "--yes")
    desk.run(*certify, *desk.root("hoshino"), "--yes")
    change = read_change(Path(out).read_bytes())
    taken = chains.verify(change.operating, first.city, known, now).body
    assert taken.sequence == 1
    assert taken.earlier is not None
    desk.run(
        *("city", "succeed", "--card", desk.path("hoshino"), *desk.root("hoshino")),
        *("--new-root", desk.path("second.key"), "--yes", "--out", out),
        *("--new-passphrase-file", desk.path("passphrase")),
    )
    change = read_change(Path(out).read_bytes())
    assert change.succession is not None
    chains.take_line(first.city, known, (change.succession,))
    card = desk.card("hoshino")
    assert chains.follow(first.city, known) == card.root_key() != known
    again = chains.verify(change.operating, first.city, known, now + 1).body
    assert (again.key, again.sequence) == (taken.key, 1)
    shown = json.loads(desk.run("city", "card", desk.path("hoshino"), "--json"))
    assert shown["successions"] == 1
    desk.fails(*certify, *desk.root("hoshino"), "--yes")


def test_agreement_is_amended_accepted_and_ended_at_the_desks(
    desk: Desk, tmp_path: Path
) -> None:
    """From the first text to its end, by files alone."""
    files = {n: str(tmp_path / f"{n}.json") for n in ("a", "b", "c", "d", "e", "f")}
    cards = ["--card", desk.path("minato/city-card.json")]
    cards += ["--with", desk.path("hoshino/city-card.json")]
    desk.run(
        *("federate", "propose", *cards, *desk.root("minato"), "--yes"),
        *("--out", files["a"]),
    )
    hoshino = ["--root", desk.path("second.key")]
    if not Path(desk.path("second.key")).exists():
        hoshino = ["--root", desk.path("hoshino/city-root.key")]
    hoshino += ["--root-passphrase-file", desk.path("passphrase")]
    minato = desk.run("city", "fingerprint", desk.path("minato/city-card.json"))
    desk.run(
        *("federate", "countersign", files["a"], *hoshino, "--confirm", minato.strip()),
        *("--out", files["b"]),
    )
    terms = tmp_path / "terms.toml"
    terms.write_text(
        '[we_may]\ndataset_types=["*"]\npurposes=["*"]\ndata_classes=["open"]\n',
        encoding="ascii",
    )
    desk.run(
        *("federate", "amend", files["b"], *hoshino, "--terms", str(terms)),
        *("--days", "30", "--out", files["c"]),
    )
    desk.fails(
        *("federate", "accept", files["b"], "--replaces", files["b"]),
        *(*desk.root("minato"), "--yes", "--out", files["d"]),
    )
    desk.run(
        *("federate", "accept", files["c"], "--replaces", files["b"]),
        *(*desk.root("minato"), "--yes", "--out", files["d"]),
    )
    amended = Agreement.parse(Path(files["d"]).read_bytes().strip())
    assert amended.complete
    assert amended.body.version == 2
    ours = amended.body.terms(CityId("hoshino"))
    assert [str(one) for one in ours.data_classes] == ["open"]
    desk.run(
        *("federate", "end", files["d"], *hoshino, "--now", "--yes"),
        *("--out", files["e"]),
    )
    told = desk.run(
        *("federate", "end", files["d"], *desk.root("minato"), "--with", files["e"]),
        *("--yes", "--out", files["f"], "--json"),
    )
    assert json.loads(told)["signed_by_both"]
    assert len(Ending.decode(Path(files["f"]).read_bytes().strip()).words) == 2
