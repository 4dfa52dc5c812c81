# SPDX-License-Identifier: Apache-2.0
"""From words on the command line to identifiers, dates, settings, qualifications.

What does not fit is wrong usage (exit status 2), told with an example of what does.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import TypeVar

import typer

from node.config_file import BadSettings
from protocol.errors import Malformed
from protocol.ids import CityId, MunicipalCode, NodeId
from vault.moments import seconds_of

T = TypeVar("T")
_DAY_S = 86_400


def city_id(text: str) -> CityId:
    """Return a city id; raises `typer.BadParameter`."""
    return _as(CityId, text, "a city id is lower-case letters, such as hoshino")


def municipal_code(text: str) -> MunicipalCode:
    """Return a municipal code; raises `typer.BadParameter`."""
    return _as(MunicipalCode, text, "six digits of which the last is a check digit")


def node_id(text: str) -> NodeId:
    """Return a node id; raises `typer.BadParameter`."""
    return _as(NodeId, text, "a node id is city/label, such as hoshino/clinic")


def _as(kind: Callable[[str], T], text: str, rule: str) -> T:
    try:
        return kind(text)
    except Malformed as error:
        raise typer.BadParameter(rule) from error


def end_of(text: str) -> int:
    """Return the second at which something ends, since 1970.

    A date alone means the last second of that day in Japan; otherwise ISO 8601, in
    Japan time where no zone is given.

    Raises:
        typer.BadParameter: neither.
    """
    try:
        seconds = seconds_of(text)
    except ValueError as error:
        raise typer.BadParameter("use a date such as 2027-03-31") from error
    # The last second, so that the date shown is the date typed.
    return seconds + _DAY_S - 1 if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else seconds


def qualification(text: str, default_end: int) -> dict[str, str | int]:
    """Read `scheme[:number[:YYYY-MM-DD]]`.

    Args:
        text: as typed.
        default_end: when it ends if no date is given, seconds since 1970.

    Raises:
        typer.BadParameter: no scheme, or a wrong date.
    """
    scheme, _, rest = text.partition(":")
    number, _, until = rest.partition(":")
    if not scheme:
        raise typer.BadParameter("use SCHEME[:NUMBER[:DATE]], such as privacy-mark")
    end = end_of(until) if until else default_end
    return {"scheme": scheme, "number": number, "until": end}


def setting(text: str) -> tuple[str, object]:
    """Read `name=value`; the value is TOML, or else text.

    Raises:
        BadSettings: no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise BadSettings("--set: use NAME=VALUE, such as api.port=9000")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return name, value


def pair(text: str) -> tuple[str, str]:
    """Read `name=value`; raises `typer.BadParameter`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter("use NAME=VALUE, such as mail=hanako@example.jp")
    return name, value
