# SPDX-License-Identifier: Apache-2.0
"""The rules of the model, each of which can be broken, and the bound of its search.

`RULES` is what the product does. A test breaks one rule at a time and wants to see a
counterexample: a property that no broken rule violates would prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

T = 2
"""Life of a status list, in ticks."""
SKEW = 1
"""How far two clocks may differ, in ticks."""
LATE = 1
"""How many ticks after it was sent an exchange is taken: its deadline is at 1.5."""


@dataclass(frozen=True)
class Rules:
    """One field for each rule; the defaults are the product's.

    Attributes:
        promise: no release so long after a withdrawal: T and the skew.
        max_age: the holder refuses a list that is so old: T.
        judges_each_time: it looks at the age at each read, not once for each list.
        skew: how far ahead of its own clock the holder lets a list be.
        remembers_ids: what this process answered it does not do again.
        judges_again: before the same answer is given again, it is judged anew.
        records_are_unique: a second release of one exchange fails on disk.
        records_first: the record is on disk before the answer leaves.
        newest_list: the holder judges by the newest list that it was shown.
        newest_is_durable: also after a restart.
        refuses_replaced: the holder refuses versions that it knows to be replaced.
        obeys_words: the holder refuses what it was told directly has ended or paused.
        words_are_durable: what it acknowledged survives a restart.
        end_is_final: a consent that arrives late does not revive a withdrawn one.
        pause_has_version: a pause holds for the versions up to its own.
        delivers_until_acknowledged: the outbox keeps a word until it is answered.
        sets_the_bit: a change is in the next list.
    """

    promise: int = T + SKEW
    max_age: int = T
    judges_each_time: bool = True
    skew: int = SKEW
    remembers_ids: bool = True
    judges_again: bool = True
    records_are_unique: bool = True
    records_first: bool = True
    newest_list: bool = True
    newest_is_durable: bool = True
    refuses_replaced: bool = True
    obeys_words: bool = True
    words_are_durable: bool = True
    end_is_final: bool = True
    pause_has_version: bool = True
    delivers_until_acknowledged: bool = True
    sets_the_bit: bool = True


RULES = Rules()


@dataclass(frozen=True)
class Bound:
    """How far the search goes. Time, losses, repetitions and restarts have no bound.

    Attributes:
        pauses: how often the resident may pause.
        reads: released exchanges that the channel may repeat, at once.
        ahead: how far the home node's clock is ahead; each is a start of its own.
    """

    pauses: int = 1
    reads: int = 1
    ahead: tuple[int, ...] = (-SKEW, 0, SKEW)


BOUND = Bound()
