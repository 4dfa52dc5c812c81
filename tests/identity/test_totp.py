# SPDX-License-Identifier: Apache-2.0
"""One-time codes: the RFC's vectors, the window, and use only once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.totp import STEP_S, code_at, matching_step, provisioning_uri

SECRET = b"12345678901234567890"
NOW = 1_900_000_000 // STEP_S * STEP_S


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
    ],
)
def test_codes_are_those_of_the_rfc(now: int, code: str) -> None:
    """RFC 6238, appendix B, the last six digits."""
    assert code_at(SECRET, now) == code


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_code_counts_one_step_around_now(steps: int) -> None:
    """Clocks of phones are off by some seconds."""
    code = code_at(SECRET, NOW + steps * STEP_S)
    assert matching_step(SECRET, code, NOW, after=0) == NOW // STEP_S + steps


@pytest.mark.parametrize("steps", [-2, 2, 100])
def test_code_from_further_away_does_not_count(steps: int) -> None:
    """A wider window would multiply the chances of a guess."""
    code = code_at(SECRET, NOW + steps * STEP_S)
    assert matching_step(SECRET, code, NOW, after=0) is None


def test_code_of_a_used_step_does_not_count() -> None:
    """Replay: looking over a shoulder gains nothing."""
    code = code_at(SECRET, NOW)
    assert matching_step(SECRET, code, NOW, after=NOW // STEP_S) is None


def test_spaces_as_apps_show_them_are_allowed() -> None:
    """Apps show 287 082."""
    code = code_at(SECRET, NOW)
    spaced = f"{code[:3]} {code[3:]}"
    assert matching_step(SECRET, spaced, NOW, after=0) is not None


@given(st.text(max_size=20))
def test_any_text_is_judged_without_raising(text: str) -> None:
    """What people type is no code, but never a fault."""
    expected = {code_at(SECRET, NOW + d * STEP_S) for d in (-1, 0, 1)}
    found = matching_step(SECRET, text, NOW, after=0)
    assert (found is not None) == (text.replace(" ", "") in expected)


def test_provisioning_address_is_what_apps_read() -> None:
    """Label, secret in base32, issuer."""
    uri = provisioning_uri(SECRET, "hanako", "Hoshino")
    assert uri.startswith("otpauth://totp/Hoshino:hanako?")
    assert "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" in uri
