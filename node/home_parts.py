# SPDX-License-Identifier: Apache-2.0
"""The parts of a home node: accounts, sign-in, links, consents, status lists."""

from __future__ import annotations

from dataclasses import dataclass

from identity.accounts import Accounts
from identity.consent_store import ConsentStore
from identity.consents import Consents
from identity.linking import Linking
from identity.packages import Packages
from identity.residents import Residents
from identity.second_factor import SecondFactor
from identity.sessions import Sessions
from identity.sign_in import SignIn
from identity.status_lists import StatusLists
from identity.throttle import Throttle
from identity.withdrawals import Withdrawals
from node.world import Chance
from protocol.ids import NodeId
from protocol.suites import Signer


@dataclass(frozen=True)
class HomeParts:
    """Every part, by name."""

    node: NodeId
    signer: Signer
    accounts: Accounts
    residents: Residents
    factor: SecondFactor
    sessions: Sessions
    sign_in: SignIn
    linking: Linking
    statuses: StatusLists
    store: ConsentStore
    consents: Consents
    packages: Packages
    withdrawals: Withdrawals
    throttle: Throttle

    @classmethod
    def assemble(
        cls,
        *,
        node: NodeId,
        signer: Signer,
        identity_key: bytes,
        index_key: bytes,
        entropy: Chance,
        max_age_s: int,
        epoch_s: int,
        skew_s: int,
    ) -> HomeParts:
        """Build the parts; touches no database.

        Args:
            node: this home node.
            signer: its key; signs consents, status lists, grants.
            identity_key: 32 bytes that wrap the accounts' keys.
            index_key: 32 bytes for blind indexes.
            entropy: random bytes.
            max_age_s: T, the life of a freshness proof.
            epoch_s: how long one signature of a status list is given out.
            skew_s: how far two clocks may differ.
        """
        accounts = Accounts(key=identity_key, index=index_key, entropy=entropy)
        store = ConsentStore(accounts=accounts, entropy=entropy)
        residents = Residents(accounts=accounts, index=index_key, entropy=entropy)
        factor = SecondFactor(accounts=accounts, entropy=entropy)
        sessions = Sessions(entropy=entropy)
        throttle = Throttle(index=index_key)
        statuses = StatusLists(
            node=node,
            signer=signer,
            entropy=entropy,
            max_age_s=max_age_s,
            epoch_s=epoch_s,
        )
        consents = Consents(
            node=node,
            signer=signer,
            store=store,
            residents=residents,
            statuses=statuses,
            entropy=entropy,
        )
        return cls(
            node=node,
            signer=signer,
            accounts=accounts,
            residents=residents,
            factor=factor,
            sessions=sessions,
            sign_in=SignIn(
                accounts=accounts,
                factor=factor,
                sessions=sessions,
                throttle=throttle,
                index=index_key,
            ),
            linking=Linking(
                node=node,
                signer=signer,
                residents=residents,
                throttle=throttle,
                index=index_key,
                entropy=entropy,
            ),
            statuses=statuses,
            store=store,
            consents=consents,
            packages=Packages(store=store, residents=residents, entropy=entropy),
            withdrawals=Withdrawals(
                node=node,
                signer=signer,
                accounts=accounts,
                store=store,
                index=index_key,
                entropy=entropy,
                skew_s=skew_s,
            ),
            throttle=throttle,
        )
