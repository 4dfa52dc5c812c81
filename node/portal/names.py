# SPDX-License-Identifier: Apache-2.0
"""Names for ids: what a resident reads instead of `hoshino/clinic`.

Organizations name themselves in their memberships, cities and dataset types in what
they publish. Where nothing is known the id stands, and it always stands beside the
name: two organizations can call themselves the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from node.parts import Parts
from node.portal.texts import Language
from protocol.dataset import DatasetType
from protocol.ids import NodeId
from vault.errors import UnknownDatasetType


class Names:
    """Finds titles in what this node has verified."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def node(self, node: str, language: Language) -> str:
        """Return an organization's name, its id where none is known."""
        if node == self._parts.node and self._parts.standing.admitted:
            return _in(self._parts.standing.membership().title, language, node)
        member = self._parts.addressbook.known(NodeId(node))
        return node if member is None else _in(member.title, language, node)

    def nodes(self, nodes: Iterable[str], language: Language) -> dict[str, str]:
        """Return the names of several, by id."""
        return {node: self.node(node, language) for node in nodes}

    def dataset(self, name: str, language: Language) -> str:
        """Return a dataset type's title."""
        try:
            return _in(self._parts.vault.types.get(name).title, language, name)
        except UnknownDatasetType:
            return name

    def purpose(self, dataset: str, purpose: str, language: Language) -> str:
        """Return the title of a purpose of a dataset type."""
        try:
            purposes = self._parts.vault.types.get(dataset).purposes
        except UnknownDatasetType:
            return purpose
        found = next((p for name, p in purposes.items() if name == purpose), None)
        return purpose if found is None else _in(found.title, language, purpose)

    def field(self, dataset: DatasetType, name: str, language: Language) -> str:
        """Return a field's name: its title in Japanese, its description in English."""
        members = dataset.json_schema.get("properties", {}).get(name, {})
        words = members.get("title" if language == "ja" else "description")
        return words if isinstance(words, str) else name


def _in(title: Mapping[str, str], language: Language, otherwise: str) -> str:
    return title.get(language) or title.get("en") or otherwise
