# SPDX-License-Identifier: Apache-2.0
"""Who takes part in a simulated federation, by size and shape.

Each city has a broker that is its directory, a hall where its residents have their
accounts, and organizations that all hold and ask: clinics, shops and energy suppliers
in turn. Two residents of each city have records and links before the story begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, Final

from protocol.errors import Misuse

CITY_NAMES: Final = ("hoshino", "minato", "yamanami", "kawabe", "asahi")
SHAPES: Final = ("ring", "mesh", "row", "star")
"""How the cities' brokers are connected."""

CHECKUP, PURCHASE, USAGE = "health.checkup", "shopping.purchase", "energy.usage"
TYPES: Final = (CHECKUP, PURCHASE, USAGE)
LEAST_CITIES, LEAST_NODES = 2, 5


@dataclass(frozen=True)
class Person:
    """A resident as the story names one.

    Attributes:
        name: such as `person3`; also the login, and the local id at every holder.
        home: where the account is.
    """

    name: str
    home: str


@dataclass(frozen=True)
class Cast:
    """Names of everybody.

    Attributes:
        cities: how many.
        nodes: per city, broker and hall included.
        shape: one of `SHAPES`.
    """

    cities: int
    nodes: int
    shape: str = "ring"

    def __post_init__(self) -> None:
        if self.cities < LEAST_CITIES or self.nodes < LEAST_NODES:
            raise Misuse(
                f"a story needs {LEAST_CITIES} cities of {LEAST_NODES} nodes at least"
            )
        if self.shape not in SHAPES:
            raise Misuse(f"cities are connected as {', '.join(SHAPES)}")

    @cached_property
    def city_names(self) -> tuple[str, ...]:
        """Every city."""
        known = CITY_NAMES[: self.cities]
        further = range(len(known) + 1, self.cities + 1)
        return (*known, *(f"city{number}" for number in further))

    @cached_property
    def brokers(self) -> tuple[str, ...]:
        """Every broker."""
        return tuple(f"{city}/broker" for city in self.city_names)

    @cached_property
    def halls(self) -> tuple[str, ...]:
        """Every home node."""
        return tuple(f"{city}/hall" for city in self.city_names)

    @cached_property
    def organizations(self) -> tuple[str, ...]:
        """Every holder and requester."""
        return tuple(
            f"{city}/org{number}"
            for city in self.city_names
            for number in range(1, self.nodes - 1)
        )

    @cached_property
    def everybody(self) -> tuple[str, ...]:
        """Every node."""
        return (*self.brokers, *self.halls, *self.organizations)

    def type_of(self, organization: str) -> str:
        """Return the dataset type that an organization keeps."""
        number = int(organization.rpartition("org")[2])
        return TYPES[(number - 1) % len(TYPES)]

    def qualified(self, organization: str) -> bool:
        """Tell whether the city calls it a medical institution: not every clinic is."""
        number = int(organization.rpartition("org")[2])
        return self.type_of(organization) == CHECKUP and number % 9 != 7

    def keepers(self, name: str) -> tuple[str, ...]:
        """Return the organizations that keep a dataset type."""
        return tuple(o for o in self.organizations if self.type_of(o) == name)

    @cached_property
    def neighbors(self) -> tuple[tuple[str, str], ...]:
        """Pairs of cities with an agreement."""
        names = self.city_names
        if self.shape == "mesh":
            return tuple(combinations(names, 2))
        if self.shape == "star":
            return tuple((names[0], other) for other in names[1:])
        pairs = tuple(pairwise(names))
        if self.shape == "row" or len(names) == LEAST_CITIES:
            return pairs
        return (*pairs, (names[-1], names[0]))

    @cached_property
    def residents(self) -> tuple[Person, ...]:
        """Those who have records and links when the story begins."""
        return tuple(
            Person(f"person{2 * place + number}", hall)
            for place, hall in enumerate(self.halls)
            for number in range(2)
        )

    def first_holders(self, person: Person) -> tuple[str, ...]:
        """Return who keeps records of a resident when the story begins."""
        city = person.home.partition("/")[0]
        place = self.city_names.index(city)
        other = self.city_names[(place + 1) % self.cities]
        return (f"{city}/org1", f"{city}/org2", f"{other}/org3")


def content(name: str, number: int) -> dict[str, Any]:
    """Return the content of a record; some of it serves no purpose or is the holder's.

    Args:
        name: its dataset type.
        number: tells records apart.
    """
    day = f"2025-{1 + number % 12:02}-{1 + number % 28:02}"
    if name == CHECKUP:
        return {
            "date": day,
            "facility_name": "星野クリニック",
            "systolic_mmhg": 90 + number % 100,
            "hba1c_percent": 5.4,
            "note": f"for the clinic only {number}",
        }
    if name == PURCHASE:
        return {
            "purchased_at": f"{day}T10:00:00+09:00",
            "store_name": "星野スーパー",
            "receipt_no": f"R-{number}",
            "item_name": f"item {number}",
            "category": "food",
            "quantity": 1 + number % 5,
            "amount_yen": 100 + number,
        }
    return {
        "period_start": day,
        "period_end": day,
        "kind": "electricity",
        "usage": 200 + number % 100,
        "unit": "kWh",
        "amount_yen": 5_000 + number,
        "supplier_name": "星野電力",
        "supply_point": f"S-{number}",
    }
