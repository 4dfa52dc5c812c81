# SPDX-License-Identifier: Apache-2.0
"""The error tree: the peer's fault or our own, each under a stable code."""

from protocol import errors
from protocol.errors import MachikuraError, Malformed, Misuse, ProtocolViolation

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MachikuraError)
]


def test_every_error_is_the_peers_fault_or_ours() -> None:
    """The first fork, so that a caller can catch one side."""
    rest = [k for k in TREE if k is not MachikuraError]
    assert all(issubclass(k, ProtocolViolation) != issubclass(k, Misuse) for k in rest)


def test_no_two_faults_share_a_code() -> None:
    """Only the general class and its plainest case do."""
    slugs = [kind.slug for kind in TREE if kind is not ProtocolViolation]
    assert len(set(slugs)) == len(slugs)
    assert ProtocolViolation.slug == Malformed.slug


def test_error_without_detail_says_its_code() -> None:
    """A log line is never empty."""
    assert str(Malformed()) == "malformed"
    assert Malformed().detail == ""
    assert str(Malformed("two heads")) == "two heads"
