# SPDX-License-Identifier: Apache-2.0
"""Waiting: for what may still come, not for what was refused."""

from __future__ import annotations

import pytest

from node.commands.api_client import NodeProblem, NodeUnreachable
from node.commands.waiting import waited

NOT_YET = NodeProblem(404, {"code": "not-found"})
REFUSED = NodeProblem(403, {"code": "forbidden"})
AWAY = NodeUnreachable("nobody", stopped=True)


class Answers:
    """Gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: str | Exception | None) -> None:
        """Take the answers."""
        self._answers = answers
        self.asked = 0

    def __call__(self) -> str | None:
        """Return or raise the next."""
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_what_comes_in_time_is_returned() -> None:
    """Whether the node was away, did not know it yet, or was not ready."""
    assert waited(Answers(AWAY, NOT_YET, None, "here"), 30) == "here"


@pytest.mark.parametrize("answer", [AWAY, NOT_YET])
def test_what_does_not_come_is_told_at_the_end(answer: Exception) -> None:
    """As it was told last."""
    with pytest.raises(type(answer)):
        waited(Answers(answer), 0.1)
    assert waited(Answers(None), 0.1) is None


def test_refusal_does_not_get_better_by_waiting() -> None:
    """It ends the wait at once."""
    answers = Answers(REFUSED, "here")
    with pytest.raises(NodeProblem):
        waited(answers, 30)
    assert answers.asked == 1


def test_without_a_time_it_is_asked_once() -> None:
    """A person looks again."""
    answers = Answers(None, "here")
    assert waited(answers, 0) is None
    assert answers.asked == 1
