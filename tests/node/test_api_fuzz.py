# SPDX-License-Identifier: Apache-2.0
"""Every operation of the API document, called with what the document allows and more.

Schemathesis makes the calls from the document that the node itself serves. Whatever is
sent, the node never fails (no 5xx), every refusal is a problem document, and every
answer is what the document promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from requests import Session
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from node.clients import Scope
from tests.node.served import Served, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def node() -> Iterator[Served]:
    """Return a served node."""
    with serving() as served:
        yield served


def _operations(node: Served) -> dict[str, Any]:
    """Return every operation of the served document by method and path."""
    document = node.call("GET", "/openapi.json").document
    schema = schemathesis.openapi.from_dict(document)
    found = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        found[f"{operation.method.upper()} {operation.path}"] = operation
    return found


def _fuzz(node: Served, examples: int) -> int:
    """Call every operation; return how many were called."""
    everything, resident = node.token(*Scope), node.resident("hanako")
    endpoints = {f"{e.method} {e.path}": e for e in node.endpoints()}
    operations = _operations(node)
    assert operations.keys() == endpoints.keys()
    faults = []
    with Session() as session:
        for name, operation in operations.items():
            header = resident if endpoints[name].resident else everything
            try:
                _call_often(node, operation, header, session, examples)
            except (FailureGroup, AssertionError) as fault:
                # All faults are shown, not the first alone.
                faults.append(f"{name}: {fault}")
    assert not faults, "\n\n".join(faults)
    return len(operations)


def _call_often(
    node: Served,
    operation: Any,
    header: dict[str, str],
    session: Session,
    examples: int,
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.seed(1)
    @given(operation.as_strategy())
    def call(case: Any) -> None:
        response = case.call(base_url=node.url, headers=header, session=session)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert response.headers["content-type"][0] == "application/problem+json"

    call()


def test_no_operation_fails_whatever_is_sent(node: Served) -> None:
    """A few examples of each."""
    assert _fuzz(node, 4) > 40


@pytest.mark.slow
def test_no_operation_fails_whatever_is_sent_at_length() -> None:
    """More examples of each."""
    with serving() as node:
        _fuzz(node, 25)
