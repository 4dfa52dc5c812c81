# SPDX-License-Identifier: Apache-2.0
"""Keys that open location tokens: a change of key loses no token."""

from __future__ import annotations

import pytest

from federation.token_keys import TokenKeys
from protocol.errors import CannotOpen
from protocol.sealed import OpeningKey
from protocol.suites import Suite

NEW, OLD, FOREIGN = (
    OpeningKey(Suite.STRICT, bytes([number]) * 96) for number in (1, 2, 3)
)


@pytest.mark.parametrize("key", [NEW, OLD])
def test_tokens_under_the_new_key_and_the_one_before_open(key: OpeningKey) -> None:
    """Both are alive while a change goes round."""
    sealed = key.public.seal("label", b"city", b"content")
    assert TokenKeys(NEW, OLD).open("label", b"city", sealed) == b"content"


@pytest.mark.parametrize("keys", [(NEW, OLD), ()])
def test_tokens_under_another_key_do_not(keys: tuple[OpeningKey, ...]) -> None:
    """Nor does anything open before there is a key."""
    sealed = FOREIGN.public.seal("label", b"city", b"content")
    with pytest.raises(CannotOpen):
        TokenKeys(*keys).open("label", b"city", sealed)
