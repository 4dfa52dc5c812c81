# SPDX-License-Identifier: Apache-2.0
"""Where callbacks may go, and how they are signed."""

from __future__ import annotations

import pytest

from node.callbacks import allowed, sign

HOOKS = ("https://app.example/hooks/", "http://127.0.0.1:9000")


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/hooks/read",
        "https://app.example:443/hooks/a/b?c=d",
        "http://127.0.0.1:9000/anything",
        "http://127.0.0.1:9000",
    ],
)
def test_callback_may_go_where_the_operator_allows(url: str) -> None:
    """Same scheme, host and port, under the same path."""
    assert allowed(url, HOOKS)


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/hooks/read",
        "https://app.example.evil/hooks/read",
        "https://app.example/hooksmith",
        "https://app.example/hooks/../admin",
        "https://app.example/hooks/%2e%2e/admin",
        "https://app.example/hooks/\\..\\admin",
        "https://app.example:8443/hooks/read",
        "https://me@app.example/hooks/read",
        "https://app.example/hooks/read#x",
        "http://127.0.0.1:9001/",
        "http://127.0.0.1:90000/",
        "http://[::1]:9000/",
        "file:///etc/passwd",
        "//app.example/hooks/read",
        "app.example/hooks/read",
        "",
    ],
)
def test_callback_may_go_nowhere_else(url: str) -> None:
    """Not to look-alikes, other ports, nor by what two programs read differently."""
    assert not allowed(url, HOOKS)


def test_nothing_is_allowed_that_no_operator_allowed() -> None:
    """The default; an entry that is no URL allows nothing either."""
    assert not allowed("http://127.0.0.1:9000/", ())
    assert not allowed("http://127.0.0.1:9000/", ("127.0.0.1:9000", ""))


def test_signature_is_that_of_standard_webhooks() -> None:
    """A fixed case, computed with openssl: `printf | openssl dgst -sha256 -hmac`."""
    headers = sign("secret-secret-secret", "r1", 1_700_000_000, b'{"a":1}')
    assert headers["webhook-id"] == "r1"
    assert headers["webhook-timestamp"] == "1700000000"
    assert (
        headers["webhook-signature"]
        == "v1,vpVH/FapTozcCQx7AYeBe5RsMQXEGSH9yALvHnS6lWc="
    )
