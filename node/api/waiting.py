# SPDX-License-Identifier: Apache-2.0
"""Reads that wait for their holders: begin, look, cancel (RFC 7240 `respond-async`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import orjson
from aiohttp import web
from pydantic import Field

from node.api.registry import Registry
from node.auth import Caller, CallerKind
from node.clients import Scope
from node.core import Core
from node.problems import Problem
from node.reader import ReadRequest
from node.results import HolderResult, refusal_of
from node.waiting import Callback, Wish
from protocol.errors import Malformed
from protocol.ids import ExchangeId
from protocol.model import Request
from protocol.problem import Refusal
from vault.errors import NotFound
from vault.moments import seconds_of
from vault.waiting import Place, WaitingRead

PATH: Final = "/v1/exchanges/reads"
_WAIT: Final = re.compile(r"wait=([0-9]{1,9})")


class CallbackTo(Request):
    """Whom to call when the read has ended, and the secret that signs the call."""

    url: Annotated[str, Field(min_length=8, max_length=1000)]
    secret: Annotated[str, Field(min_length=16, max_length=200)]


class ReadStatus(Request):
    """A read that waits, or has ended.

    `state` is `waiting` until every holder has answered, refused for good, or the end
    has come. Results come as they are there.
    """

    id: str
    state: Literal["waiting", "ended"]
    created_ms: int
    until_ms: int
    ended_ms: int | None
    dataset_type: str
    purpose: str
    consent: str | None
    results: list[HolderResult]


class ReadStatuses(Request):
    """Reads that wait or have ended, the newest first, without their results."""

    reads: list[ReadStatus]


class ReadId(Request):
    """Which read."""

    id: ExchangeId


@dataclass(frozen=True)
class Preferences:
    """What the caller prefers (RFC 7240).

    Attributes:
        asynchronous: an answer at once, the results later.
        wait_s: how long the read may wait; None where nothing is said.
    """

    asynchronous: bool
    wait_s: int | None


def preferred(request: web.Request) -> Preferences:
    """Return the preferences of a request; what we do not know is ignored."""
    words = [
        word.strip().lower()
        for header in request.headers.getall("Prefer", [])
        for word in re.split("[,;]", header)
    ]
    waits = [match for match in map(_WAIT.fullmatch, words) if match]
    return Preferences("respond-async" in words, int(waits[0][1]) if waits else None)


def shown(request: web.Request, results: list[dict[str, Any]]) -> web.Response:
    """Answer with results, or with the first problem where there are none."""
    if any(result["problem"] is None for result in results):
        return web.Response(
            body=orjson.dumps({"results": results}), content_type="application/json"
        )
    first = results[0]["problem"]
    problem = Problem(
        first["code"],
        detail=first["detail"],
        by=first["by"],
        retry_after_ms=first["retry_after_ms"],
    )
    response = problem.response(request)
    document = orjson.loads(response.text or "{}")
    document["results"] = results
    response.body = orjson.dumps(document)
    return response


class WaitingApi:
    """The endpoints of waiting reads."""

    def __init__(self, core: Core) -> None:
        """Take the parts of the node."""
        self._parts = core.parts
        self._database = core.parts.database
        self._store = core.parts.vault.waiting

    async def begin(
        self,
        wished: ReadRequest,
        *,
        client: str,
        wait_until: str | None,
        callback: CallbackTo | None,
        prefers: Preferences,
        request: web.Request,
    ) -> web.Response:
        """Begin a read that may wait.

        Unless the caller prefers not to wait, every holder is asked once before the
        answer: 200 or a problem where the read has ended with that, else 202.

        Raises:
            Malformed: an end that is none, or has passed.
            CallbackRefused: the operator does not allow the address.
        """
        desk, calls = self._parts.waiting, self._parts.callbacks
        if desk is None or calls is None:
            raise NotFound("this node does not read")
        until_ms = self._until(wait_until, prefers)
        chosen = None
        if callback is not None:
            calls.check(callback.url)
            chosen = Callback(url=callback.url, secret=callback.secret)
        read = await desk.begin(
            wished, client=client, until_ms=until_ms, callback=chosen
        )
        if not prefers.asynchronous:
            await desk.first_round(read)
        document = self._status(self._found(read, None), results=True)
        headers = {"Location": f"{PATH}/{read}"}
        if prefers.asynchronous:
            headers["Preference-Applied"] = "respond-async"
        elif document["state"] == "ended":
            response = self._ended(request, read, document["results"])
            response.headers.update(headers)
            return response
        return _json(document, 202, headers)

    def _ended(
        self, request: web.Request, read: str, results: list[Any]
    ) -> web.Response:
        """Answer as a read that did not have to wait."""
        places = self._database.read(lambda c: self._store.places(c, read))
        if any(place.state == "answered" for place in places):
            return _json({"results": results})
        return shown(request, orjson.loads(orjson.dumps(results)))

    def _until(self, wait_until: str | None, prefers: Preferences) -> int:
        """Return when the read is given up."""
        desk = self._parts.waiting
        usual_ms = 0 if desk is None else desk.limits.usual_ms
        now_ms = self._parts.world.clock.now_ms()
        if wait_until is None:
            given = prefers.wait_s
            return now_ms + (usual_ms if given is None else given * 1000)
        try:
            until_ms = seconds_of(wait_until) * 1000
        except ValueError as error:
            raise Malformed("wait_until is an ISO 8601 time") from error
        if until_ms <= now_ms:
            raise Malformed("wait_until has passed")
        return until_ms

    def register(self, registry: Registry) -> None:
        """Describe the endpoints."""

        @registry.route(
            "GET",
            PATH,
            scope=Scope.EXCHANGE_READ,
            summary=("Reads that wait or have ended", "待機中・完了した参照の一覧"),
            tag="exchanges",
            returns=ReadStatuses,
        )
        async def list_reads(caller: Caller) -> web.Response:
            client = _owner(caller)
            ids = self._database.read(lambda c: self._store.ids(c, client, 1_000))
            reads = [
                self._status(self._found(read, client), results=False) for read in ids
            ]
            return _json({"reads": reads})

        @registry.route(
            "GET",
            PATH + "/{id}",
            scope=Scope.EXCHANGE_READ,
            summary=("What came of a read that waited", "待機した参照の結果"),
            tag="exchanges",
            returns=ReadStatus,
            problems=("not-found",),
        )
        async def get_read(params: ReadId, caller: Caller) -> web.Response:
            found = self._found(params.id, _owner(caller))
            return _json(self._status(found, results=True))

        @registry.route(
            "DELETE",
            PATH + "/{id}",
            scope=Scope.EXCHANGE_READ,
            summary=(
                "Give up a read, or delete its results",
                "待機中の参照の取消と結果の削除",
            ),
            tag="exchanges",
            problems=("not-found",),
        )
        async def cancel_read(params: ReadId, caller: Caller) -> None:
            desk = self._parts.waiting
            if desk is None or not await desk.cancel(params.id, _owner(caller)):
                raise NotFound("no such read")

    def _found(self, read: str, client: str | None) -> WaitingRead:
        found = self._database.read(lambda c: self._store.get(c, read, client))
        if found is None:
            raise NotFound("no such read")
        return found

    def _status(self, read: WaitingRead, *, results: bool) -> dict[str, Any]:
        """Return a read in the form of `ReadStatus`."""
        wish = Wish.decode(read.wish)
        return {
            "id": read.id,
            "state": "waiting" if read.ended_ms is None else "ended",
            "created_ms": read.created_ms,
            "until_ms": read.until_ms,
            "ended_ms": read.ended_ms,
            "dataset_type": wish.dataset_type,
            "purpose": wish.purpose,
            "consent": wish.consent,
            "results": self._results(read, wish) if results else [],
        }

    def _results(self, read: WaitingRead, wish: Wish) -> list[Any]:
        """Return what each holder said, or why it has said nothing yet."""
        places = self._database.read(lambda c: self._store.places(c, read.id))
        return [self._result(read, place, wish) for place in places]

    def _result(self, read: WaitingRead, place: Place, wish: Wish) -> Any:
        outcome = self._database.read(
            lambda c: self._store.outcome(c, read, place.number)
        )
        if outcome is not None:
            return orjson.Fragment(outcome)
        why = "still waiting" if place.state == "waiting" else ""
        refusal = Refusal(place.reason or "node-away", why)
        return refusal_of(wish.node_at(place.number), refusal, "", 0, ())


def _owner(caller: Caller) -> str | None:
    """Return whose reads a caller sees; None for the operator, who sees all."""
    return None if caller.kind is CallerKind.OPERATOR else caller.name


def _json(
    document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        content_type="application/json",
        headers=headers,
    )
