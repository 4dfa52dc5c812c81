# SPDX-License-Identifier: Apache-2.0
"""The API document (OpenAPI 3.1), made from the endpoints and their models.

Models appear once under `components`; input models in their validation form, answers in
their serialization form. Every problem code of an endpoint is listed at its status, in
the words of `protocol.problem_catalog`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from node.clients import Scope
from protocol.problem import describe

TOKEN_PATH = "/oauth/token"
_REFERENCE = "#/components/schemas/{model}"

_SCOPE_WORDS = {
    Scope.RECORDS_READ: "Read records of this organization",
    Scope.RECORDS_WRITE: "Store, change and erase records of this organization",
    Scope.EXCHANGE_READ: "Ask other organizations for data",
    Scope.EXCHANGE_PUSH: "Send data to other organizations",
    Scope.RESIDENTS_WRITE: "Create and manage residents' accounts",
    Scope.LINKS_WRITE: "Link a resident to this organization",
    Scope.CONSENTS_READ: "Read consents given to this organization",
    Scope.DATASETS_WRITE: "Register dataset types",
    Scope.STATUS_READ: "Read health and figures",
    Scope.ADMIN: "Administer the node",
}

_PROBLEM = {
    "type": "object",
    "description": "Problem document (RFC 9457)",
    "required": ["type", "title", "status", "code", "remedy", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "remedy": {"type": "string"},
        "trace_id": {"type": "string"},
        "retry_after": {"type": "integer", "description": "seconds"},
        "by": {"type": "string", "description": "the node that refused"},
        "title_en": {"type": "string"},
        "title_ja": {"type": "string"},
        "remedy_en": {"type": "string"},
        "remedy_ja": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "detail_ja": {"type": "string"},
                },
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method on one path; see `node.api.registry.Registry.route`."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    summary: tuple[str, str]
    tag: str
    scope: Scope | None
    resident: bool
    problems: tuple[str, ...]
    status: int
    body: type[BaseModel] | None
    params: type[BaseModel]
    returns: type[BaseModel] | None
    media: str
    takes: frozenset[str]
    abandoned: bool = False


Mode: TypeAlias = Literal["validation", "serialization"]
_Schemas: TypeAlias = dict[tuple[type[BaseModel], Mode], dict[str, Any]]


def document(
    endpoints: Iterable[Endpoint], *, title: str, version: str
) -> dict[str, Any]:
    """Return the document for these endpoints."""
    endpoints = list(endpoints)
    schemas, definitions = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(endpoint.path, {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas, definitions)
    parameters = {_name(schemas[(e.params, "validation")]) for e in endpoints}
    kept = {k: v for k, v in definitions.items() if k not in parameters}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "tags": [{"name": name} for name in sorted({e.tag for e in endpoints})],
        "paths": paths,
        "components": {
            "schemas": {**kept, "Problem": _PROBLEM},
            "securitySchemes": {
                "application": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": TOKEN_PATH,
                            "scopes": {str(k): v for k, v in _SCOPE_WORDS.items()},
                        }
                    },
                },
                "resident": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Session` and the token of a signed-in resident",
                },
            },
        },
    }


def _schemas(endpoints: list[Endpoint]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: list[tuple[type[BaseModel], Mode]] = []
    for endpoint in endpoints:
        wanted.append((endpoint.params, "validation"))
        if endpoint.body is not None:
            wanted.append((endpoint.body, "validation"))
        if endpoint.returns is not None:
            wanted.append((endpoint.returns, "serialization"))
    unique = list(dict.fromkeys(wanted))
    found, top = models_json_schema(unique, ref_template=_REFERENCE)
    return {key: found[key] for key in unique}, top.get("$defs", {})


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _operation(
    endpoint: Endpoint, schemas: _Schemas, definitions: dict[str, Any]
) -> dict[str, Any]:
    english, japanese = endpoint.summary
    operation: dict[str, Any] = {
        "operationId": getattr(endpoint.handler, "__name__", endpoint.path),
        "summary": english,
        "x-summary-ja": japanese,
        "tags": [endpoint.tag],
        "responses": _responses(endpoint, schemas),
    }
    if security := _security(endpoint):
        operation["security"] = security
    schema = definitions[_name(schemas[(endpoint.params, "validation")])]
    if parameters := _parameters(endpoint.path, schema):
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"schema": schemas[(endpoint.body, "validation")]}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": content},
        }
    return operation


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    ways: list[dict[str, list[str]]] = []
    if endpoint.scope is not None:
        ways.append({"application": [str(endpoint.scope)]})
    if endpoint.resident:
        ways.append({"resident": []})
    return ways


def _parameters(path: str, schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", [])
    found = []
    for name, member in schema.get("properties", {}).items():
        in_path = f"{{{name}}}" in path
        parameter = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or name in required,
            "schema": {k: v for k, v in member.items() if k != "description"},
        }
        if "description" in member:
            parameter["description"] = member["description"]
        found.append(parameter)
    return found


def _responses(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if endpoint.returns is not None:
        schema = schemas[(endpoint.returns, "serialization")]
        success["content"] = {endpoint.media: {"schema": schema}}
    elif endpoint.status != 204 and endpoint.media != "application/json":
        success["content"] = {endpoint.media: {"schema": {}}}
    responses = {str(endpoint.status): success}
    content = {
        "application/problem+json": {
            "schema": {"$ref": _REFERENCE.format(model="Problem")}
        }
    }
    by_status: dict[int, list[str]] = {}
    for code in sorted({*endpoint.problems, *_usual_problems(endpoint)}):
        by_status.setdefault(describe(code).status, []).append(code)
    for status, codes in sorted(by_status.items()):
        words = "; ".join(f"`{c}`: {describe(c).title_en}" for c in codes)
        responses[str(status)] = {"description": words, "content": content}
    responses["default"] = {"description": "Any other problem", "content": content}
    return responses


def _usual_problems(endpoint: Endpoint) -> list[str]:
    codes = ["internal", "not-ready", "invalid-input"]
    if endpoint.scope is not None or endpoint.resident:
        codes += ["unauthenticated", "forbidden", "rate-limited"]
    if endpoint.body is not None:
        codes += ["malformed", "too-large", "unsupported-media-type"]
    return codes
