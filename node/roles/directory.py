# SPDX-License-Identifier: Apache-2.0
"""The directory's side: holders register under a grant, home nodes ask."""

from __future__ import annotations

from federation.directory import Directory
from federation.exchange import Asked, Handler, Reply
from identity.trust import TrustStore
from node.database import Database
from protocol.answer import Done, Entries
from protocol.location import LOCATION_GRANT, LocationGrant
from protocol.problem import ProblemBody
from protocol.request import LocateLocator, RegisterLocation


class DirectoryDesk:
    """Answers registrations and look-ups of one city's directory."""

    def __init__(
        self, *, directory: Directory, trust: TrustStore, database: Database
    ) -> None:
        """Take the parts."""
        self._directory = directory
        self._trust = trust
        self._database = database

    def handlers(self) -> dict[str, Handler]:
        """Return what the directory answers."""
        return {
            "register-location": self._register,
            "locate-locator": self._look_up,
        }

    async def _register(self, asked: Asked) -> Reply:
        """Take a holder's registration.

        The grant must verify under the key of the home node that shows credentials for
        it, name this city and this holder; the holder is the proven sender.
        """
        query, now = asked.expect(RegisterLocation), asked.now
        if query.home is None:
            return Reply(ProblemBody(code="grant-invalid", detail="no credentials"))
        home = self._trust.verify_sender(
            query.home.membership, query.home.operating, now
        )
        grant = self._trust.verify_home_document(
            query.grant, LOCATION_GRANT, LocationGrant, home, now
        )
        mismatch = await self._database.write(
            lambda c: self._directory.register(
                c,
                grant=grant.body,
                node=asked.sender.sub,
                dataset_types=query.dataset_types,
                now=now,
            )
        )
        if mismatch is not None:
            return Reply(ProblemBody(code="grant-invalid", detail=mismatch.detail))
        return Reply(Done())

    async def _look_up(self, asked: Asked) -> Reply:
        """Tell the home node who registered under a locator that it granted."""
        query = asked.expect(LocateLocator)
        found = self._database.read(
            lambda c: self._directory.look_up(
                c,
                locator=query.locator,
                home=asked.sender.sub,
                now=asked.now,
            )
        )
        return Reply(Entries(entries=found))
