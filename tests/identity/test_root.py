# SPDX-License-Identifier: Apache-2.0
"""The root key's file, what it certifies, and how people compare it."""

from pathlib import Path

import pytest

from identity.errors import Conflict, WrongPassphrase
from identity.root import create_root, fingerprint, issue_operating, open_root
from protocol.errors import Expired, Misuse
from protocol.ids import CityId
from protocol.membership import verify_operating
from protocol.suites import Suite
from tests.identity.home import CHEAP, Chance
from tests.protocol.cities import HOSHINO, MINATO, NOW, SKEW

PASSPHRASE = b"the city's passphrase"
DAY = 86_400


def test_root_key_is_the_same_when_opened_again(tmp_path: Path) -> None:
    """A city is its root key."""
    path = tmp_path / "root.json"
    made = create_root(
        path, HOSHINO.id, Suite.STRICT, PASSPHRASE, entropy=Chance(), cost=CHEAP
    )
    again = open_root(path, PASSPHRASE)
    assert again.city == "hoshino"
    assert again.signer.public == made.signer.public


def test_wrong_passphrase_does_not_open_the_root(tmp_path: Path) -> None:
    """The file alone is not the city."""
    path = tmp_path / "root.json"
    create_root(
        path, HOSHINO.id, Suite.HYBRID, PASSPHRASE, entropy=Chance(), cost=CHEAP
    )
    with pytest.raises(WrongPassphrase):
        open_root(path, b"the town's passphrase")


def test_root_file_of_one_city_does_not_open_as_another(tmp_path: Path) -> None:
    """The city's name is bound into the seal."""
    path = tmp_path / "root.json"
    create_root(
        path, HOSHINO.id, Suite.HYBRID, PASSPHRASE, entropy=Chance(), cost=CHEAP
    )
    path.write_bytes(path.read_bytes().replace(b"hoshino", b"hashino"))
    with pytest.raises(WrongPassphrase):
        open_root(path, PASSPHRASE)


def test_root_key_is_never_replaced(tmp_path: Path) -> None:
    """A second set-up on the same medium must not destroy a city."""
    path = tmp_path / "root.json"
    for chance in ("1", "2"):
        arguments = (path, HOSHINO.id, Suite.HYBRID, PASSPHRASE)
        if chance == "1":
            create_root(*arguments, entropy=Chance(chance), cost=CHEAP)
        else:
            with pytest.raises(Conflict):
                create_root(*arguments, entropy=Chance(chance), cost=CHEAP)


def test_short_passphrase_is_refused(tmp_path: Path) -> None:
    """The file may be stolen and guessed at without limit."""
    with pytest.raises(Misuse):
        create_root(
            tmp_path / "root", HOSHINO.id, Suite.HYBRID, b"short", entropy=Chance()
        )


def test_operating_certificate_verifies_until_it_ends() -> None:
    """A stolen operating key ends with its certificate."""
    signed = issue_operating(
        HOSHINO.root,
        HOSHINO.id,
        HOSHINO.operating.public,
        now=NOW,
        days=30,
        entropy=Chance(),
    )
    root, city = HOSHINO.root.public, CityId("hoshino")
    verified = verify_operating(signed.token, city, root, NOW, SKEW)
    assert verified.body.verifying_key() == HOSHINO.operating.public
    with pytest.raises(Expired):
        verify_operating(signed.token, city, root, NOW + 30 * DAY, SKEW)


@pytest.mark.parametrize("days", [0, -1, 401])
def test_life_of_an_operating_certificate_is_bounded(days: int) -> None:
    """Nobody certifies a key for ever by a slip of the hand."""
    with pytest.raises(Misuse):
        issue_operating(
            HOSHINO.root,
            HOSHINO.id,
            HOSHINO.operating.public,
            now=NOW,
            days=days,
            entropy=Chance(),
        )


def test_root_key_is_not_certified_as_operating_key() -> None:
    """It would have to go online."""
    with pytest.raises(Misuse):
        issue_operating(
            HOSHINO.root,
            HOSHINO.id,
            HOSHINO.root.public,
            now=NOW,
            days=30,
            entropy=Chance(),
        )


def test_fingerprint_can_be_read_aloud_and_tells_keys_apart() -> None:
    """Eight groups of four digits."""
    groups = fingerprint(HOSHINO.root.public).split(" ")
    assert [len(group) for group in groups] == [4] * 8
    assert fingerprint(MINATO.root.public) != fingerprint(HOSHINO.root.public)
