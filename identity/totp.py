# SPDX-License-Identifier: Apache-2.0
"""One-time codes of authenticator apps: TOTP, RFC 6238.

Six digits, 30 seconds, HMAC-SHA-1: what every authenticator app speaks. A code counts
within one step before and after, and each step once: the caller keeps the last step
used and hands it back, so a code that was looked at over a shoulder is worthless.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

SECRET_BYTES = 20
STEP_S = 30
WINDOW = 1
_DIGITS = 6


def code_at(secret: bytes, now: int) -> str:
    """Return the code at `now` (seconds since 1970)."""
    return _totp(secret).generate(now).decode("ascii")


def matching_step(secret: bytes, code: str, now: int, after: int) -> int | None:
    """Return the time step that `code` belongs to, None if it is no good.

    Args:
        secret: 20 bytes.
        code: as typed, spaces allowed.
        now: seconds since 1970.
        after: the last step that was used; only later ones count.
    """
    typed = code.replace(" ", "").encode("ascii", "replace")
    current = now // STEP_S
    found: int | None = None
    for step in range(current - WINDOW, current + WINDOW + 1):
        expected = code_at(secret, step * STEP_S).encode("ascii")
        # All steps are compared, so the time taken does not tell which one fits.
        if hmac.compare_digest(expected, typed) and step > after:
            found = step
    return found


def provisioning_uri(secret: bytes, login: str, issuer: str) -> str:
    """Return the `otpauth://` address that an app reads from a QR code."""
    return _totp(secret).get_provisioning_uri(login, issuer)


def _totp(secret: bytes) -> TOTP:
    # HMAC-SHA-1 is not affected by SHA-1's collisions (RFC 6194, section 3.3).
    return TOTP(secret, _DIGITS, SHA1(), STEP_S)  # noqa: S303  # see above
