# SPDX-License-Identifier: Apache-2.0
"""What must be true of every step and of every state that is left alone.

Safety is judged step by step. Liveness: once the channel is healed, whatever the order
in which the rest arrives, every word is acknowledged, and an honest read ends as the
resident decided last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tests.model.rules import Rules
from tests.model.state import ACTIVE, AGAIN, FIRST, WITHDRAWN, Request, State, Step
from tests.model.steps import AGAIN_GIVEN, RELEASED, fresh_list, heard, sent, verdict


def broken(before: State, step: Step, after: State, rules: Rules) -> str | None:
    """Return the safety property that this step violates, None if it violates none."""
    if any(request.left and not request.recorded for request in after.asked):
        return "a release has no record"
    if not isinstance(step.what, Request):
        return None
    if step.outcome not in (RELEASED, AGAIN_GIVEN):
        return None
    if step.outcome == RELEASED and step.what.left:
        return "an exchange is released twice"
    return _lawful(before, step.what, rules) if step.what.consent == FIRST else None


def _lawful(s: State, request: Request, rules: Rules) -> str | None:
    if s.withdrawn is not None and s.withdrawn >= rules.promise:
        return "a release after the withdrawal + T + skew"
    if s.heard_end or request.version < s.heard:
        return "a release against what the holder was told"
    newest = max(filter(None, (s.shown, request.list)))
    if newest.status != ACTIVE:
        return "a release by an older list than the holder was shown"
    return None


def settles(rules: Rules) -> Callable[[State], str | None]:
    """Return a function that tells what never happens from a state, None if all does.

    It follows every order in which a healed channel may deliver the rest. Only what
    matters for it is compared, so most states are answered from memory.
    """

    @cache
    def rest(s: State) -> str | None:
        following = []
        if s.attempt is not None and not s.answered:
            following.append(heard(s, s.attempt, rules)._replace(answered=True))
        if s.answered:
            done = s._replace(outbox=s.outbox[1:], attempt=None, answered=False)
            following.append(sent(done))
        if not following:
            return _end(s, rules)
        return next(filter(None, map(rest, map(_bare, following))), None)

    return lambda s: rest(_bare(s))


def _bare(s: State) -> State:
    """Drop what neither an honest read nor the delivery of the rest depends on."""
    return s._replace(
        mail=frozenset(),
        asked=frozenset(),
        lists=frozenset() if s.newest is None else frozenset({s.newest}),
        shown=None,
        heard=0,
        heard_end=False,
        withdrawn=None,
        trusted=frozenset(),
    )


def _end(s: State, rules: Rules) -> str | None:
    """Judge a state in which nothing is under way any more."""
    if s.mood == WITHDRAWN and s.known.status != WITHDRAWN:
        return "a withdrawal does not reach the holder for good"
    for consent, wanted in ((FIRST, s.mood == ACTIVE), (AGAIN, s.again)):
        released = honest(s, consent, rules) == RELEASED
        if wanted and not released:
            return "a read under an active consent never succeeds"
        if released and not wanted:
            return "a read succeeds that nobody allows"
    return None


def honest(s: State, consent: int, rules: Rules) -> str:
    """Return what an honest read ends in: newest version, list fetched just now."""
    versions = [version for c, version in s.versions if c == consent]
    if not versions:
        return "consent-missing"
    request = Request(consent, max(versions), fresh_list(s, rules))
    return verdict(s, request, rules)[0]
