# SPDX-License-Identifier: Apache-2.0
"""What may happen next: each party's acts, the channel's, the clock's.

    for step, after in steps(state, RULES, BOUND): ...

One function for each act. Where one names a place in the product, the code there must
decide the same; `tests/model/test_replay.py` plays both and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tests.model.rules import LATE, Bound, Rules, T
from tests.model.state import (
    ACTIVE,
    AGAIN,
    FIRST,
    NONE,
    PAUSED,
    WITHDRAWN,
    Copy,
    Known,
    List,
    Request,
    State,
    Step,
    Word,
)
from tests.model.tidy import aged, tidied

Next: TypeAlias = Iterator[tuple[Step, State]]

RELEASED = "released"
AGAIN_GIVEN = "the same answer"
"""To a request that was answered before: judged anew, and not a release of its own."""


def starts(bound: Bound) -> list[State]:
    """Return the first states: one for each error of the home node's clock."""
    return [State(ahead=ahead) for ahead in bound.ahead]


def steps(s: State, rules: Rules, bound: Bound) -> Next:
    """Return everything that may happen next."""
    for step, after in _steps(s, rules, bound):
        yield step, tidied(s, after, rules)


def _steps(s: State, rules: Rules, bound: Bound) -> Next:
    yield from _resident(s, rules, bound)
    yield from _words(s, rules)
    yield from _reads(s, rules, bound)
    yield Step("restart"), _restarted(s, rules)
    yield Step("tick"), _ticked(s, rules)


# ------------------------------------------- resident, home node (identity.consents)


def _resident(s: State, rules: Rules, bound: Bound) -> Next:
    """Give, pause, resume, withdraw, give again: each is told to both parties."""
    version = s.version + 1
    if s.mood == NONE:
        given = s._replace(version=1, mood=ACTIVE, versions=s.versions | {(FIRST, 1)})
        yield Step("give"), listed(_told(given, Word("consent")), rules)
    if s.mood == ACTIVE and s.version < 2 * bound.pauses:
        paused = s._replace(version=version, mood=PAUSED)
        yield Step("pause"), listed(_told(paused, Word("pause", version)), rules)
    if s.mood == PAUSED:
        versions = s.versions | {(FIRST, version)}
        resumed = s._replace(version=version, mood=ACTIVE, versions=versions)
        yield Step("resume"), listed(_told(resumed, Word("consent")), rules)
    if s.mood in (ACTIVE, PAUSED):
        ended = s._replace(version=version, mood=WITHDRAWN, withdrawn=0)
        yield Step("withdraw"), listed(_told(ended, Word("end", version)), rules)
    if s.mood == WITHDRAWN and not s.again:
        again = s._replace(again=True, versions=s.versions | {(AGAIN, 1)})
        yield Step("give again"), _told(again, Word("again"))


def _told(s: State, word: Word) -> State:
    return sent(s._replace(outbox=(*s.outbox, word)))


def sent(s: State) -> State:
    """Send the first word of the outbox unless one is under way (federation.outbox)."""
    while s.outbox and s.attempt is None:
        word = _built(s, s.outbox[0])
        if word is None:
            s = s._replace(outbox=s.outbox[1:])
            continue
        others = frozenset(other for other in s.mail if other.word != word)
        s = s._replace(attempt=word, answered=False, mail=others | {Copy(word)})
    return s


def _built(s: State, word: Word) -> Word | None:
    """Return a word as it is sent now; a consent that has ended is not sent."""
    if word.kind != "consent":
        return word
    return Word("consent", s.version) if s.mood == ACTIVE else None


def listed(s: State, rules: Rules) -> State:
    """Return the state after the requester has fetched a list (identity.status_lists).

    It does so whenever there is a new one to be had, each tick and after each change:
    with more lists it can do more.
    """
    return s._replace(lists=s.lists | {fresh_list(s, rules)})


def fresh_list(s: State, rules: Rules) -> List:
    """Return the list that the home node would sign now."""
    epoch = 1 + max((one.epoch for one in s.lists), default=0)
    return List(epoch, -s.ahead, s.mood if rules.sets_the_bit else ACTIVE)


# ------------------------------------------------ words to the holder (vault.ledger)


def _words(s: State, rules: Rules) -> Next:
    """Copies arrive, late and twice as well; the answer to the last attempt returns."""
    for copy in sorted(s.mail):
        after = heard(s, copy.word, rules)
        current = copy.word == s.attempt and copy.age == 0
        yield Step("word", copy), after._replace(answered=s.answered or current)
    if s.answered:
        after = s._replace(outbox=s.outbox[1:], attempt=None, answered=False)
        yield Step("acknowledged"), sent(after)
    elif s.attempt is not None and not rules.delivers_until_acknowledged:
        yield Step("given up"), sent(s._replace(outbox=s.outbox[1:], attempt=None))


def heard(s: State, word: Word, rules: Rules) -> State:
    """Return the state after the holder was told something."""
    known, version = s.known, word.version
    if word.kind == "again":
        return s
    if word.kind == "consent":
        known = _newer(known, version, rules)
        return s._replace(known=known, heard=max(s.heard, version))
    ended = s.heard_end or word.kind == "end"
    s = s._replace(heard=max(s.heard, version), heard_end=ended)
    return s._replace(known=_revoked(known, word))


def _newer(known: Known, version: int, rules: Rules) -> Known:
    """`Ledger.keep_package` and `note_version`."""
    if not rules.end_is_final:
        known = known._replace(status=ACTIVE)
    if known.status == WITHDRAWN or version < known.newest:
        return known
    return known._replace(newest=version) if version > 1 else known


def _revoked(known: Known, word: Word) -> Known:
    """`Ledger.mark_revoked`."""
    status = WITHDRAWN if word.kind == "end" else PAUSED
    if known.status == WITHDRAWN:
        return known
    if status == known.status and word.version <= known.status_version:
        return known
    if status == PAUSED and word.version < known.newest:
        return known
    return Known(status, word.version, max(known.newest, word.version))


# ------------------------------------- reads: requester, channel, node.roles.holder


def _reads(s: State, rules: Rules, bound: Bound) -> Next:
    """A request arrives, a new one or one that has arrived before.

    A new one is asked just then: one that was under way for long arrives as one that
    is asked late, under the same version and with the same list.
    """
    for request in sorted(s.asked):
        yield from _read(s, "again", request, rules)
    if len(s.asked) < bound.reads:
        for consent, version in sorted(s.versions):
            for shown in sorted(s.lists):
                yield from _read(s, "read", Request(consent, version, shown), rules)


def _read(s: State, act: str, request: Request, rules: Rules) -> Next:
    """The holder answers, or dies at the write that comes before."""
    outcome, judged = verdict(s, request, rules)
    released = outcome == RELEASED
    after = request
    if outcome != "deadline-passed":
        after = request._replace(
            seen=True,
            recorded=request.recorded or released,
            left=request.left or released,
        )
    yield Step(act, request, outcome), _kept(s, request, after, judged, rules)
    if not released:
        return
    left = request.left or not rules.records_first
    lost = _kept(s, request, request._replace(left=left), None, rules)
    yield Step(act, request, "dies before it is written"), _restarted(lost, rules)
    silent = _kept(s, request, after._replace(left=request.left), judged, rules)
    yield Step(act, request, "dies when it is written"), _restarted(silent, rules)


def _kept(
    s: State, before: Request, after: Request, judged: List | None, rules: Rules
) -> State:
    asked = s.asked - {before}
    # One that was refused is forgotten: the requester can ask the same anew. So is one
    # under the other consent, with which nothing can go wrong that cannot here.
    if (after.recorded or after.left) and after.consent == FIRST:
        asked |= {after}
    s = s._replace(asked=asked)
    if judged is None:
        return s
    shown = after.list if s.shown is None else max(s.shown, after.list)
    if not rules.judges_each_time:
        s = s._replace(trusted=s.trusted | {after.list})
    return s._replace(newest=judged, shown=shown)


def verdict(s: State, request: Request, rules: Rules) -> tuple[str, List | None]:
    """Return what the holder says, and the list that it judged by, if it got so far.

    In the order of `Endpoint._open`, `Warrants.verify`, `decide`, `Replies`,
    `Release.commit`.
    """
    shown = request.list
    if request.age > LATE:
        return "deadline-passed", None
    if rules.remembers_ids and request.seen and not rules.judges_again:
        return AGAIN_GIVEN, None
    if shown.age >= rules.max_age and shown not in s.trusted:
        return "proof-stale", None
    if -shown.age > rules.skew:
        return "proof-from-future", None
    judged = _newest(s, shown, rules)
    refused = None
    if request.consent == FIRST:
        refused = _ended(s.known, request.version, rules) or _listed(judged)
    if refused is not None:
        return refused, judged
    if rules.remembers_ids and request.seen:
        return AGAIN_GIVEN, judged
    if rules.records_are_unique and request.recorded:
        return "replayed", judged
    return RELEASED, judged


def _newest(s: State, shown: List, rules: Rules) -> List:
    """Return the newest list that holds; one that is over makes room for any other."""
    kept = s.newest
    if not rules.newest_list or kept is None or kept.age >= T:
        return shown
    return max(kept, shown)


def _ended(known: Known, version: int, rules: Rules) -> str | None:
    """`Ledger.revocation_of` and the first half of `decision._freshness`."""
    if rules.obeys_words:
        paused = version <= known.status_version or not rules.pause_has_version
        if known.status == PAUSED and paused:
            return "consent-paused"
        if known.status == WITHDRAWN:
            return "consent-withdrawn"
    if rules.refuses_replaced and known.newest > version:
        return "consent-superseded"
    return None


def _listed(judged: List) -> str | None:
    """The second half of `decision._freshness`."""
    if judged.status == WITHDRAWN:
        return "consent-withdrawn"
    return "consent-paused" if judged.status == PAUSED else None


def _restarted(s: State, rules: Rules) -> State:
    """The holder is killed and starts again on what is on its disk."""
    s = s._replace(asked=frozenset(r._replace(seen=False) for r in s.asked))
    if not rules.words_are_durable:
        s = s._replace(known=Known())
    return s if rules.newest_is_durable else s._replace(newest=None)


# ----------------------------------------------------------------------------- clock


def _ticked(s: State, rules: Rules) -> State:
    """Time passes; what was under way to the holder is given up and sent anew."""
    s = sent(aged(s)._replace(attempt=None, answered=False))
    return listed(s, rules) if s.version else s
