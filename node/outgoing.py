# SPDX-License-Identifier: Apache-2.0
"""The way out to local applications: one POST, bounded in time, followed nowhere."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

_TIMEOUT_S = 10.0


async def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send a body and return the HTTP status; what is answered is not read.

    Redirections are not followed: they would lead where the operator did not allow.

    Raises:
        OSError: no connection, or it broke.
        TimeoutError: no answer within ten seconds.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer,
        ):
            return answer.status
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error
