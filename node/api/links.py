# SPDX-License-Identifier: Apache-2.0
"""Linking at the holder: a resident shows a one-time code, staff enter it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from node.api.registry import Registry
from node.clients import Scope
from node.core import Core
from node.problems import Refused
from protocol.ids import NodeId
from protocol.model import Request, ShortText
from protocol.problem import Refusal


class LinkRequest(Request):
    """The code that a resident shows, and whom this organization knows them as."""

    home: NodeId
    code: Annotated[str, Field(min_length=4, max_length=64)]
    subject: ShortText


class LinkResult(Request):
    """A linked person, and what is registered in the city's directory."""

    subject: str
    home: str
    dataset_types: list[str]


def register(registry: Registry, *, core: Core) -> None:
    """Describe the endpoint."""

    @registry.route(
        "POST",
        "/v1/links",
        scope=Scope.LINKS_WRITE,
        status=201,
        summary=("Link a resident by one-time code", "連携コードによる本人の連携"),
        tag="links",
        problems=("link-code-wrong", "rate-limited", "no-route", "conflict"),
    )
    async def link(body: LinkRequest) -> LinkResult:
        locations = core.parts.locations
        if locations is None:
            raise Refused(Refusal("kind-not-offered"))
        outcome = await locations.claim(body.home, body.code, body.subject)
        if isinstance(outcome, Refusal):
            raise Refused(outcome)
        return LinkResult(
            subject=body.subject,
            home=outcome.home,
            dataset_types=list(outcome.dataset_types),
        )
