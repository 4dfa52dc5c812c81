# SPDX-License-Identifier: Apache-2.0
"""Makes states that cannot be told apart by anything that follows the same one.

Each reduction names why it loses nothing. Without them the states would not end.
"""

from __future__ import annotations

from tests.model.rules import LATE, SKEW, Rules, T
from tests.model.state import Copy, List, State


def aged(s: State) -> State:
    """Let one tick pass over everything that has an age.

    Copies that are over are forgotten: a deadline is set by the clock of who sends, so
    a home node that is ahead has its copies taken for longer. So are requests, one tick
    later, to be refused once. A list that is over ages no more.
    """

    def older(one: List) -> List:
        return one._replace(age=min(one.age + 1, T))

    def maybe(one: List | None) -> List | None:
        return None if one is None else older(one)

    after = None if s.withdrawn is None else min(s.withdrawn + 1, T + SKEW)
    return s._replace(
        mail=frozenset(
            Copy(c.word, c.age + 1) for c in s.mail if c.age < LATE + s.ahead
        ),
        asked=frozenset(
            r._replace(age=r.age + 1, list=older(r.list))
            for r in s.asked
            if r.age <= LATE
        ),
        lists=frozenset(map(older, s.lists)),
        trusted=frozenset(map(older, s.trusted)),
        newest=maybe(s.newest),
        shown=maybe(s.shown),
        withdrawn=after,
    )


def tidied(before: State, s: State, rules: Rules) -> State:
    """Return the one state that stands for all that behave as `s` does.

    Args:
        before: the state that led to it, tidy itself.
        s: the state.
        rules: which of them are broken.
    """
    if _words_of(s) != _words_of(before):
        s = _few_copies(s, rules)
    if _lists_of(s) == _lists_of(before):
        return s
    return _numbered(_few_lists(s))


def _words_of(s: State) -> tuple[object, ...]:
    return s.mail, s.attempt, s.heard, s.heard_end


def _lists_of(s: State) -> tuple[object, ...]:
    return s.lists, s.newest, s.shown, s.asked, s.trusted


def _few_copies(s: State, rules: Rules) -> State:
    """Drop copies that say nothing new: what the holder knows only grows."""
    if not rules.end_is_final or not rules.words_are_durable:
        return s

    def tells(copy: Copy) -> bool:
        word = copy.word
        if word == s.attempt and copy.age == 0:
            return True
        if word.kind == "end":
            return not s.heard_end
        return (
            not s.heard_end and word.kind != "again" and word.version > max(s.heard, 1)
        )

    mail = frozenset(filter(tells, s.mail))
    return s if len(mail) == len(s.mail) else s._replace(mail=mail)


def _few_lists(s: State) -> State:
    """Keep the newest list of each status: it is good for whatever an older one is.

    And forget the newest that was shown where no list that is left says otherwise.
    """
    newest = {one.status: one for one in sorted(s.lists)}
    lists = frozenset(newest.values())
    if len(lists) != len(s.lists):
        s = s._replace(lists=lists)
    useful = [x for x in lists if x.age < T] + [
        r.list for r in s.asked if r.list.age < T
    ]
    if s.newest is not None and _says_nothing(s.newest, useful):
        s = s._replace(newest=None)
    if s.shown is not None and _says_nothing(s.shown, useful):
        s = s._replace(shown=None)
    return s


def _says_nothing(newest: List, others: list[List]) -> bool:
    if newest.age >= T:
        return True
    return all(x.status == newest.status for x in others if x.epoch < newest.epoch)


def _numbered(s: State) -> State:
    """Number lists anew from 1: only their order counts."""
    alive = {*s.lists, *s.trusted, *(r.list for r in s.asked)}
    alive.update(x for x in (s.newest, s.shown) if x is not None)
    numbers = {old: new for new, old in enumerate(sorted({x.epoch for x in alive}), 1)}
    if all(old == new for old, new in numbers.items()):
        return s

    def again(one: List) -> List:
        return one._replace(epoch=numbers[one.epoch])

    return s._replace(
        lists=frozenset(map(again, s.lists)),
        trusted=frozenset(map(again, s.trusted)),
        asked=frozenset(r._replace(list=again(r.list)) for r in s.asked),
        newest=None if s.newest is None else again(s.newest),
        shown=None if s.shown is None else again(s.shown),
    )
