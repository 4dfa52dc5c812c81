# SPDX-License-Identifier: Apache-2.0
"""Applications and tokens in the database: hashes only, ended ones gone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine

from node import clients
from node.clients import ClientExists, NoSuchClient, Scope
from node.sqlite import driver
from tests.node.conftest import START_MS, CountedEntropy

READ = frozenset({Scope.RECORDS_READ})


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """Return a connection to a database with all tables."""
    with engine.connect() as connection:
        yield connection


def add(connection: Connection, name: str = "emr") -> str:
    """Register an application that may read."""
    return clients.add(
        connection, name, "電子カルテ", READ, now_ms=START_MS, entropy=CountedEntropy()
    )


def issue(connection: Connection, now_ms: int, entropy: CountedEntropy) -> str:
    """Return a token of a minute for the only application."""
    client = clients.listed(connection)[0]
    return clients.issue_token(
        connection, client, READ, now_ms=now_ms, life_s=60, entropy=entropy
    ).token


def test_secret_opens_and_any_other_does_not(connection: Connection) -> None:
    """Nor does the right secret of another application."""
    secret = add(connection)
    entropy = CountedEntropy(calls=50)
    other = clients.add(connection, "app", "", READ, now_ms=0, entropy=entropy)
    client = clients.authenticate(connection, "emr", secret)
    assert client is not None
    assert (client.id, client.title, client.scopes) == ("emr", "電子カルテ", READ)
    for name, shown in (("emr", other), ("emr", ""), ("nobody", secret), ("", "")):
        assert clients.authenticate(connection, name, shown) is None


def test_unknown_client_is_not_opened_by_the_empty_hash(connection: Connection) -> None:
    """The stand-in that keeps the time equal must match nothing."""
    assert clients.authenticate(connection, "nobody", "\0" * 32) is None


def test_neither_secret_nor_token_is_stored(connection: Connection) -> None:
    """A stolen database opens nothing."""
    secret = add(connection)
    token = issue(connection, START_MS, CountedEntropy(calls=50))
    dump = "\n".join(driver(connection).iterdump())
    assert secret not in dump
    assert token not in dump


def test_client_of_the_same_id_is_refused(connection: Connection) -> None:
    """Else an operator would replace a secret in use by mistake."""
    add(connection)
    with pytest.raises(ClientExists):
        add(connection)


def test_removing_an_unknown_client_is_told(connection: Connection) -> None:
    """A typo must not look like success."""
    with pytest.raises(NoSuchClient):
        clients.remove(connection, "emr")


def test_client_removed_meanwhile_gets_no_token(connection: Connection) -> None:
    """Between authentication and issue lies a commit of others."""
    secret = add(connection)
    client = clients.authenticate(connection, "emr", secret)
    assert client is not None
    clients.remove(connection, "emr")
    with pytest.raises(NoSuchClient):
        clients.issue_token(
            connection, client, READ, now_ms=0, life_s=60, entropy=CountedEntropy()
        )


def test_ended_tokens_are_removed(connection: Connection) -> None:
    """The table holds what is valid, not the history."""
    add(connection)
    entropy = CountedEntropy(calls=50)
    for step in range(5):
        issue(connection, START_MS + step * 60_000, entropy)
    count = driver(connection).execute("SELECT count(*) FROM access_tokens").fetchone()
    assert count == (1,)


def test_secrets_do_not_show_in_representations(connection: Connection) -> None:
    """Objects end up in logs and debuggers."""
    add(connection)
    client = clients.listed(connection)[0]
    grant = clients.issue_token(
        connection, client, READ, now_ms=0, life_s=60, entropy=CountedEntropy()
    )
    assert grant.token not in repr(grant)
