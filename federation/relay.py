# SPDX-License-Identifier: Apache-2.0
"""The rules of one relay step: may this exchange pass, and where to (pure).

A broker may only narrow. It looks at the routing header, the peer that handed it over,
and agreements; never at a body. Public-key work is left to the two ends: the peer was
proven in the link's handshake, and a member speaks only for itself, a neighbor only for
its own city and those behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from federation.peers import Peer
from protocol import hop
from protocol.agreement import AgreementBody, Terms
from protocol.answer import AnswerEnvelope, AnswerType
from protocol.envelope import Envelope, RoutingHeader
from protocol.errors import MachikuraError
from protocol.ids import CityId, NodeId
from protocol.membership import DataClass
from protocol.problem import PROBLEM, SignedProblem
from protocol.signature import Received


@dataclass(frozen=True)
class Turned:
    """An exchange that does not pass.

    Attributes:
        code: stable slug.
        detail: this case.
        retry_after_ms: when asking again may help.
        elsewhere: whether another path may do better.
        silent: the peer has not answered its link's ping; another link to it would not
            do better.
    """

    code: str
    detail: str = ""
    retry_after_ms: int | None = None
    elsewhere: bool = False
    silent: bool = False


Agreed = Callable[[CityId], AgreementBody | None]
"""Returns the agreement in force with a city, None if there is none."""


def check_peer(envelope: Envelope, peer: Peer, city: CityId) -> Turned | None:
    """Hold the sender and the hop records to the peer that handed it over."""
    header = envelope.header
    if peer.city == city and not peer.is_broker:
        if header.sender != peer.node:
            return Turned("wrong-issuer", "a member speaks only for itself")
        if envelope.hops:
            return Turned("malformed", "a member cannot have carried an exchange")
        allowed = peer.membership.data_classes
        # A dataset type without a class must not slip past the membership.
        about = header.dataset_type is not None or header.data_class is not None
        if about and header.data_class not in allowed:
            return Turned("membership-class", f"{peer.node}: {header.data_class}")
        return None
    if not peer.is_broker:
        return Turned("no-agreement", "only brokers carry exchanges between cities")
    if peer.city != city and header.sender.city == city:
        return Turned("wrong-issuer", "a neighbor cannot speak for our members")
    if envelope.hops:
        last = hop.last_record(envelope.hops)
        if last.by != peer.node:
            return Turned("malformed", "the last hop record is not the peer's")
    elif header.sender != peer.node:
        return Turned("malformed", "the peer's own hop record is missing")
    return None


def check_loop(envelope: Envelope, peer: Peer, node: NodeId) -> Turned | None:
    """Refuse what was here before: our city stands in the chain already.

    What came from a broker of our own city may name our city, and never ourselves.
    """
    own = f'{node}"' if peer.city == node.city else f"{node.city}/"
    if f'"by":"{own}'.encode() in envelope.hops:
        return Turned("loop", "this city has carried the exchange")
    return None


def may_refuse(header: RoutingHeader, permits: Terms | None) -> bool:
    """Tell whether some city on a way has said that it does not let this pass."""
    if permits is None or header.dataset_type is None:
        return False
    about = header.dataset_type, str(header.purpose), str(header.data_class)
    return permits.refusal(*about) is not None


def turns_back(envelope: Envelope, path: tuple[CityId, ...]) -> bool:
    """Tell whether a path leads through a city that has carried the exchange."""
    if envelope.header.sender.city in path:
        return True
    hops = envelope.hops
    return bool(hops) and any(f'"by":"{city}/'.encode() in hops for city in path)


_DEAD_ENDS = frozenset(
    {
        "agreement-data-class",
        "agreement-dataset-type",
        "agreement-purpose",
        "hop-budget-exhausted",
        "loop",
        "no-agreement",
        "no-route",
        "overloaded",
        "peer-unreachable",
        "transit-refused",
    }
)
"""Refusals that say something about a path, not about the exchange."""


def leads_nowhere(answer: bytes | Turned, to: CityId) -> bool:
    """Tell whether another path may do better than the one that gave this answer.

    A broker on the way that cannot go on refuses, and another path may lead there. It
    is not verified who refused: at worst we ask once more in vain. What the city asked
    says itself is final.
    """
    if isinstance(answer, Turned):
        return answer.elsewhere
    parts = AnswerEnvelope.unpack(answer, len(answer))
    if parts.type is not AnswerType.PROBLEM:
        return False
    token = parts.payload.partition(b"\n")[0]
    try:
        refused = Received.parse(token, PROBLEM).peek(SignedProblem)
        by = NodeId(refused.iss).city
    except (MachikuraError, ValueError):
        return False
    return by != to and refused.problem.code in _DEAD_ENDS


def check_times(
    header: RoutingHeader, now_ms: int, skew_ms: int, longest_ms: int
) -> Turned | None:
    """Refuse what is over, from the future, or would wait too long."""
    if header.deadline_ms <= now_ms:
        return Turned("deadline-passed", f"{now_ms - header.deadline_ms} ms ago")
    if header.iat_ms > now_ms + skew_ms:
        return Turned("not-yet-valid", f"{header.iat_ms - now_ms} ms ahead")
    if header.deadline_ms - header.iat_ms > longest_ms:
        return Turned("malformed", f"an exchange may last {longest_ms} ms at most")
    return None


def check_budget(envelope: Envelope, limit: int) -> Turned | None:
    """Hold the exchange to its hop budget and to ours; one broker is one hop."""
    carried = hop.count(envelope.hops) + 1
    allowed = min(envelope.header.hops, limit)
    if carried > allowed:
        return Turned("hop-budget-exhausted", f"{carried} of {allowed} brokers")
    return None


def check_agreements(
    header: RoutingHeader,
    *,
    city: CityId,
    came_from: CityId,
    goes_to: CityId,
    a: Agreed,
    carried: int = 1,
) -> Turned | None:
    """Hold the exchange to the agreements with the city before and the city after us.

    Args:
        header: the routing header.
        city: ours.
        came_from: city of the peer that handed it over; ours for members.
        goes_to: city of the next hop; ours when it stays here.
        a: finds the agreement in force with a city.
        carried: brokers that have carried it, we included.
    """
    across = header.sender.city != header.to.city
    if across and header.data_class is DataClass.CLOSED:
        return Turned("closed-outside-city", str(header.dataset_type))
    if came_from != city:
        turned = _covered(header, came_from, came_from, city, carried, a)
        if turned is not None:
            return turned
    if goes_to != city:
        # The broker of the next city will be one more.
        return _covered(header, city, goes_to, goes_to, carried + 1, a)
    return None


def _covered(
    header: RoutingHeader,
    asking: CityId,
    other: CityId,
    asked: CityId,
    carried: int,
    a: Agreed,
) -> Turned | None:
    agreement = a(other)
    if agreement is None:
        return Turned("no-agreement", f"with {other}")
    terms = agreement.terms(asking)
    if carried > terms.hop_limit:
        return Turned("hop-budget-exhausted", f"agreement {agreement.id}")
    if header.to.city != asked and not terms.transit:
        return Turned("transit-refused", f"agreement {agreement.id}")
    if header.dataset_type is None:
        return None
    refused = terms.refusal(
        header.dataset_type, str(header.purpose), str(header.data_class)
    )
    return None if refused is None else Turned(refused, f"agreement {agreement.id}")


def hop_record(
    envelope: Envelope, *, by: NodeId, goes_to: str, now_ms: int, decision: str
) -> hop.HopRecord:
    """Build our hop record for this envelope."""
    return hop.HopRecord(
        by=by,
        next=goes_to,
        at_ms=now_ms,
        decision=decision,
        prev=hop.last_digest(envelope.hops, envelope.digest),
    )
