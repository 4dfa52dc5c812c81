# SPDX-License-Identifier: Apache-2.0
"""The stolen disk: no name, handle, locator, consent or secret in any byte of it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from identity.drafts import ConsentDraft
from identity.notice import render
from identity.sessions import SignedIn
from identity.sign_in import Attempt
from protocol.canonical import b64url, unb64url
from tests.identity.home import (
    CLINIC,
    EMAIL,
    LOGIN,
    NAME,
    NURSERY,
    PASSWORD,
    PHARMACY,
    Home,
    database,
    draft,
)
from tests.protocol.cities import NOW, seed

SOURCE = "192.0.2.77"


def _bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def _live(home: Home) -> dict[str, bytes]:
    """Do everything a resident does; return what must not be on the disk."""
    connection = home.connection
    account = home.resident()
    secret = home.set_up_factor(account)
    attempt = home.sign_in.begin(connection, login=LOGIN, source=SOURCE, now=NOW)
    assert isinstance(attempt, Attempt)
    signed_in = home.sessions.open(connection, account, "password", now=NOW)
    assert isinstance(signed_in, SignedIn)
    code = home.linking.issue(connection, account, NURSERY, now=NOW)
    home.linking.redeem(connection, code, NURSERY, now=NOW)
    consent = home.consent(account, holders=(CLINIC, PHARMACY))
    entry = home.store.get(connection, consent)
    home.consents.withdraw(connection, account, consent, now=NOW)
    home.withdrawals.tell(connection, consent, now=NOW)
    return {
        "login": LOGIN.encode(),
        "name": NAME.encode(),
        "contact": EMAIL.encode(),
        "password": PASSWORD.encode(),
        "password hash": home.accounts.secrets(connection, account).phc.encode(),
        "one-time code secret": secret,
        "one-time code secret, encoded": b64url(secret).encode(),
        "source": SOURCE.encode(),
        "session token": signed_in.token.encode(),
        "link code": code.replace("-", "").encode(),
        "handle": home.residents.handle_at(connection, account, CLINIC).encode(),
        "locator": home.residents.locator_in(connection, account, CLINIC.city).encode(),
        "holder": CLINIC.encode(),
        "recipient": NURSERY.encode(),
        "dataset type": b"health.checkup",
        "consent": entry.token.split(".")[1][:40].encode(),
        "salt": unb64url(entry.salts[CLINIC]),
        "identity key": seed("identity", 32),
    }


def test_no_canary_is_found_in_the_files(tmp_path: Path) -> None:
    """Every byte of the database and its journals is searched."""
    engine = database(f"sqlite:///{tmp_path / 'home.db'}")
    with engine.begin() as connection:
        canaries = _live(Home(connection))
    found = _bytes_of(tmp_path)
    assert len(found) > 50_000
    assert [name for name, canary in canaries.items() if canary in found] == []
    engine.dispose()


def test_erased_person_leaves_no_wrapped_key_on_the_disk(tmp_path: Path) -> None:
    """Erasure: what is left cannot be opened, with all of the node's keys."""
    engine = database(f"sqlite:///{tmp_path / 'home.db'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
        home = Home(connection)
        account = home.resident()
        home.consent(account)
        query = text("select wrapped_key from accounts")
        wrapped: bytes = connection.execute(query).scalar_one()
        connection.commit()
        assert wrapped in _bytes_of(tmp_path)
        home.accounts.delete(connection, account)
        connection.commit()
    engine.dispose()
    assert wrapped not in _bytes_of(tmp_path)


def test_file_opens_again_after_a_restart(tmp_path: Path) -> None:
    """The same keys find the same person and consents."""
    url = f"sqlite:///{tmp_path / 'home.db'}"
    first = database(url)
    with first.begin() as connection:
        home = Home(connection)
        account = home.resident()
        consent = home.consent(account)
    first.dispose()
    second = database(url)
    with second.begin() as connection:
        home = Home(connection)
        assert home.accounts.find(connection, LOGIN) == account
        entry = home.store.owned(connection, account, consent)
        assert isinstance(entry.draft, ConsentDraft)
        assert render(entry.draft) == render(draft())
    second.dispose()
