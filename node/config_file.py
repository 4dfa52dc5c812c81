# SPDX-License-Identifier: Apache-2.0
"""Settings from and to where people keep them: a TOML file, the environment, a table.

    settings = load(Path("node.toml"))

First the file, then the environment: `MACHIKURA_API__PORT=9000` is `port` in the table
`[api]`, and wins; lists are JSON (`MACHIKURA_BROKERS=["wss://…"]`); an empty variable
counts as unset. A variable with the prefix that no setting has is refused like an
unknown key of the file. Errors name the setting and the fault, never the value.
"""

from __future__ import annotations

import json
import os
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

import tomlkit
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from tomlkit import TOMLDocument
from tomlkit.items import Table as TomlTable

from node.config import FOLDER, Settings
from protocol.errors import Misuse

PREFIX = "MACHIKURA_"
CONFIG_VARIABLE = "MACHIKURA_CONFIG"
"""Names the file; the only variable with the prefix that is no setting."""

FILE_NAME = "node.toml"


class BadSettings(Misuse):
    """The settings cannot be used; the detail has one line for each fault."""


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a node.

    Args:
        path: the TOML file; relative paths in it start at its own folder.
        environ: the environment; this process's own unless given.

    Raises:
        BadSettings: the file cannot be read, or a setting is unknown, missing or wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BadSettings(f"{path}: not valid TOML: {error}") from error
    _add_environment(values, os.environ if environ is None else environ)
    return check(values, folder=path.resolve().parent)


def check(values: Mapping[str, Any], *, folder: Path | None = None) -> Settings:
    """Check settings that are already in memory.

    Args:
        values: tables and keys as in the file.
        folder: where relative paths start.

    Raises:
        BadSettings: a setting is unknown, missing or wrong.
    """
    try:
        return Settings.model_validate(dict(values), context={FOLDER: folder})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        lines = [f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults]
        raise BadSettings("\n".join(lines)) from None


def _add_environment(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE or not text:
            continue
        *tables, key = variable.removeprefix(PREFIX).lower().split("__")
        model: type[BaseModel] | None = Settings
        place = values
        for table in tables:
            model = _table(model.model_fields.get(table)) if model else None
            below = place.setdefault(table, {})
            if model is None or not isinstance(below, dict):
                raise BadSettings(f"{variable}: there is no such table of settings")
            place = below
        field = model.model_fields.get(key) if model else None
        if field is None or _table(field) is not None:
            raise BadSettings(f"{variable}: there is no such setting")
        place[key] = _from_text(variable, text, field)


def _from_text(variable: str, text: str, field: FieldInfo) -> object:
    if get_origin(field.annotation) is not tuple:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise BadSettings(f"{variable}: not a JSON list") from None


def _table(field: FieldInfo | None) -> type[BaseModel] | None:
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


@dataclass(frozen=True)
class Line:
    """One setting as documents show it."""

    name: str
    kind: str
    default: str
    unit: str
    sentence: str


def lines(model: type[BaseModel] = Settings, above: str = "") -> Iterator[Line]:
    """Yield every setting, in the order in which the file has them (tables last)."""
    fields = model.model_fields.items()
    for name, field in fields:
        if _table(field) is None:
            yield _line(above + name, field)
    for name, field in fields:
        below = _table(field)
        if below is not None:
            yield from lines(below, f"{above}{name}.")


def _line(name: str, field: FieldInfo) -> Line:
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    default = "required" if field.is_required() else _toml(field.default) or "empty"
    return Line(name, _kind(field.annotation), default, unit, field.description or "")


def _kind(annotation: Any) -> str:
    """Name a type in an operator's words."""
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin in (Union, types.UnionType):
        return _kind(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin is Literal:
        return " or ".join(f'"{a}"' for a in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "one of " + ", ".join(f'"{m.value}"' for m in annotation)
    names = {bool: "true or false", int: "integer", float: "number", Path: "path"}
    return names.get(annotation, "text")


def _toml(value: object) -> str:
    """Write a value as TOML; empty for what has no value."""
    if value is None:
        return ""
    return str(tomlkit.item(_plain(value)).as_string())


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, str | Path) else value


def render_file(chosen: Mapping[str, Any]) -> str:
    """Return a settings file in which every setting has its line.

    Args:
        chosen: values by dotted name (`api.port`); every other setting stands in the
            file as a comment with its default.

    Raises:
        BadSettings: there is no setting of a chosen name.
    """
    unknown = chosen.keys() - {line.name for line in lines()}
    if unknown:
        raise BadSettings(f"{min(unknown)}: there is no such setting")
    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of this node. A line that begins with # is"))
    document.add(tomlkit.comment("the default; docs/settings.md lists all of them."))
    tables: dict[str, TomlTable | TOMLDocument] = {"": document}
    for line in lines():
        above, _, key = line.name.rpartition(".")
        place = _place(tables, above)
        unit = f" ({line.unit})" if line.unit else ""
        place.add(tomlkit.comment(f"{line.sentence}{unit}"))
        if line.name in chosen:
            place.add(key, _plain(chosen[line.name]))
        else:
            default = '""' if line.default in ("required", "empty") else line.default
            place.add(tomlkit.comment(f"{key} = {default}"))
    return tomlkit.dumps(document)


def _place(
    tables: dict[str, TomlTable | TOMLDocument], name: str
) -> TomlTable | TOMLDocument:
    """Return the table of that dotted name; make it where it is missing."""
    if name not in tables:
        above, _, key = name.rpartition(".")
        parent = _place(tables, above)
        parent.add(tomlkit.nl())
        tables[name] = tomlkit.table()
        parent.add(key, tables[name])
        # Adding copies what it is given when the document is the parent.
        tables[name] = cast(TomlTable, parent[key])
    return tables[name]


def render_table() -> str:
    """Return the table of settings in docs/settings.md."""
    rows = [
        "| Setting | Type | Default | Unit | Meaning |",
        "|---|---|---|---|---|",
        *(
            f"| `{line.name}` | {line.kind} | {_code(line.default)} | {line.unit} "
            f"| {line.sentence} |"
            for line in lines()
        ),
    ]
    return "\n".join(rows) + "\n"


def _code(default: str) -> str:
    return default if default in ("required", "empty") else f"`{default}`"
