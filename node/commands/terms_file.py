# SPDX-License-Identifier: Apache-2.0
"""What two cities may ask of each other, as the proposing city's operator writes it.

    days = 365              # how long the agreement holds
    notice_days = 30        # one city alone ends it so many days after it says so

    [we_may]                # what we may ask of, or through, the other city
    dataset_types = ["*"]   # names, or "*" for any
    purposes = ["*"]
    data_classes = ["open", "personal", "special-care"]
    transit = true          # the other city may carry our requests on to further cities
    hop_limit = 4           # brokers that a request may pass at most

    [they_may]              # the reverse
    …

A table that is missing stands for the values above: everything but data of the class
`closed`, which never leaves its city. In a table that is there, the first three must be
said: nothing is agreed to by forgetting a line.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

import orjson
from pydantic import Field, ValidationError

from node.federating import Deal
from protocol.agreement import Terms
from protocol.errors import Misuse
from protocol.ids import DatasetTypeName, PurposeName
from protocol.membership import DataClass
from protocol.model import Request

DAYS = 365


class _Direction(Request):
    dataset_types: tuple[DatasetTypeName | Literal["*"], ...]
    purposes: tuple[PurposeName | Literal["*"], ...]
    data_classes: tuple[Literal["open", "personal", "special-care"], ...]
    transit: bool = True
    hop_limit: Annotated[int, Field(ge=1, le=16)] = 4

    def terms(self) -> Terms:
        return Terms(
            dataset_types=self.dataset_types,
            purposes=self.purposes,
            data_classes=tuple(map(DataClass, self.data_classes)),
            transit=self.transit,
            hop_limit=self.hop_limit,
        )


_EVERYTHING = _Direction(
    dataset_types=("*",),
    purposes=("*",),
    data_classes=("open", "personal", "special-care"),
)


class _File(Request):
    days: Annotated[int, Field(ge=1, le=3650)] = DAYS
    notice_days: Annotated[int, Field(ge=0, le=3650)] | None = None
    we_may: _Direction = _EVERYTHING
    they_may: _Direction = _EVERYTHING


def read_deal(text: str = "") -> Deal:
    """Read the terms; no text stands for the default ones.

    Raises:
        Misuse: not TOML, or a line that is unknown, missing or wrong.
    """
    try:
        file = _File.model_validate_json(orjson.dumps(tomllib.loads(text)))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise Misuse(f"terms: {place}: {fault['msg']}") from error
    except (ValueError, TypeError) as error:
        raise Misuse("terms: not valid TOML") from error
    return Deal(
        file.we_may.terms(),
        file.they_may.terms(),
        file.days,
        notice_days=file.notice_days,
    )
