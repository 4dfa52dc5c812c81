# SPDX-License-Identifier: Apache-2.0
"""Argon2id: what fits, what does not, and what is not accepted."""

import pytest

from identity.passwords import hash_password, stretch, verify_password
from protocol.errors import Misuse
from tests.identity.home import CHEAP

SALT = bytes(range(16))


def test_right_password_fits() -> None:
    """The plain way."""
    assert verify_password("correct horse", hash_password("correct horse", SALT, CHEAP))


def test_other_password_does_not_fit() -> None:
    """One letter is enough."""
    phc = hash_password("correct horse", SALT, CHEAP)
    assert not verify_password("correct horsf", phc)


def test_hash_names_argon2id_and_its_cost() -> None:
    """A later release can raise the cost and still check old hashes."""
    assert hash_password("correct horse", SALT, CHEAP).startswith(
        "$argon2id$v=19$m=32,t=1,p=1$"
    )


@pytest.mark.parametrize("password", ["", "short", "x" * 9, "x" * 257])
def test_password_of_unfit_length_is_not_hashed(password: str) -> None:
    """Too short is guessable, too long is a way to keep the node busy."""
    with pytest.raises(Misuse):
        hash_password(password, SALT, CHEAP)


def test_composed_and_decomposed_letters_are_one_password() -> None:
    """Two devices of one person spell ガ differently."""
    phc = hash_password("ガーデンの鍵がある場所", SALT, CHEAP)
    assert verify_password("カ\u3099ーデンの鍵か\u3099ある場所", phc)


def test_lone_surrogate_fits_nothing() -> None:
    """An odd JSON escape must not raise."""
    assert not verify_password("\ud800", hash_password("correct horse", SALT, CHEAP))


def test_stretched_key_depends_on_salt_and_secret() -> None:
    """Two nodes with one passphrase have different keys."""
    key = stretch(b"passphrase", SALT, CHEAP)
    assert len(key) == 32
    assert key != stretch(b"passphrase", bytes(16), CHEAP)
    assert key != stretch(b"passphrasf", SALT, CHEAP)
