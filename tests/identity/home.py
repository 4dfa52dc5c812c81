# SPDX-License-Identifier: Apache-2.0
"""A home node on a real SQLite database, with one resident and two linked holders.

Everything is the real code; chance is a counter, so a run is like the one before, and
Argon2id is set as cheap as it goes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, create_engine

from identity.accounts import Accounts, Details
from identity.consent_store import ConsentStore
from identity.consents import Consents
from identity.drafts import ConsentDraft, DraftScope
from identity.linking import Linking
from identity.packages import Packages
from identity.passwords import Cost
from identity.residents import Residents
from identity.second_factor import SecondFactor
from identity.sessions import Sessions
from identity.sign_in import SignIn
from identity.status_lists import StatusLists
from identity.tables import metadata
from identity.throttle import Throttle
from identity.totp import code_at
from identity.withdrawals import Withdrawals
from protocol.consent import Evidence, Operation
from protocol.ids import DatasetTypeName, NodeId, PurposeName
from protocol.membership import DataClass
from tests.protocol.cities import NOW, seed, signing

HALL = NodeId("hoshino/hall")
CLINIC = NodeId("hoshino/clinic")
PHARMACY = NodeId("hoshino/pharmacy")
NURSERY = NodeId("minato/nursery")

LOGIN = "kanariya-login"
NAME = "Kanariya Hanako"
EMAIL = "kanariya@mail.example"
PASSWORD = "correct horse battery"
CHEAP = Cost(memory_kib=32, iterations=1, lanes=1)
BOTH_FACTORS = Evidence(level=2, method="password+totp")


class Chance:
    """Bytes that look random and repeat in every run."""

    def __init__(self, name: str = "chance") -> None:
        self._name = name
        self._drawn = 0

    def __call__(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        self._drawn += 1
        return hashlib.shake_256(f"{self._name} {self._drawn}".encode()).digest(size)


def database(url: str = "sqlite://") -> Engine:
    """Return an engine with all tables, deleting as a node's does."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
        metadata.create_all(connection)
    return engine


def draft(**changes: Any) -> ConsentDraft:
    """Return a draft that is fine; a test changes what it is about."""
    checkup = DraftScope(
        dataset_type=DatasetTypeName("health.checkup"),
        data_class=DataClass.SPECIAL_CARE,
        evidence_level=2,
    )
    plain = ConsentDraft(
        recipients=(NURSERY,),
        holders=(CLINIC,),
        operations=(Operation.SHARE,),
        scope=(checkup,),
        purposes=(PurposeName("treatment"),),
        starts=NOW,
        ends=NOW + 30 * 86_400,
        titles={"hoshino/clinic": {"ja": "星野病院", "en": "Hoshino clinic"}},
    )
    return plain.model_copy(update=changes)


@dataclass
class Home:
    """The parts of a home node."""

    connection: Connection
    chance: Chance = field(default_factory=Chance)

    def __post_init__(self) -> None:
        """Put the parts together."""
        chance, signer = self.chance, signing(HALL)
        index = seed("index", 32)
        self.accounts = Accounts(
            key=seed("identity", 32), index=index, entropy=chance, cost=CHEAP
        )
        self.factor = SecondFactor(accounts=self.accounts, entropy=chance)
        self.throttle = Throttle(index=index)
        self.sessions = Sessions(entropy=chance)
        self.sign_in = SignIn(
            accounts=self.accounts,
            factor=self.factor,
            sessions=self.sessions,
            throttle=self.throttle,
            index=index,
        )
        self.residents = Residents(accounts=self.accounts, index=index, entropy=chance)
        self.linking = Linking(
            node=HALL,
            signer=signer,
            residents=self.residents,
            throttle=self.throttle,
            index=index,
            entropy=chance,
        )
        self.statuses = StatusLists(node=HALL, signer=signer, entropy=chance)
        self.store = ConsentStore(accounts=self.accounts, entropy=chance)
        self.consents = Consents(
            node=HALL,
            signer=signer,
            store=self.store,
            residents=self.residents,
            statuses=self.statuses,
            entropy=chance,
        )
        self.packages = Packages(
            store=self.store, residents=self.residents, entropy=chance
        )
        self.withdrawals = Withdrawals(
            node=HALL,
            signer=signer,
            accounts=self.accounts,
            store=self.store,
            index=index,
            entropy=chance,
        )

    def account(self, login: str = LOGIN) -> str:
        """Open an account with a password only."""
        details = Details(login=login, name=NAME, contacts={"email": EMAIL})
        phc = self.accounts.hash_password(PASSWORD)
        account = self.accounts.create(self.connection, details, phc, now=NOW)
        self.residents.create(self.connection, account)
        return account

    def resident(self, login: str = LOGIN) -> str:
        """Open an account that has linked a clinic and a pharmacy."""
        account = self.account(login)
        for holder in (CLINIC, PHARMACY):
            self.residents.link(self.connection, account, holder, now=NOW)
        return account

    def set_up_factor(self, account: str, now: int = NOW) -> bytes:
        """Give the account a second factor and return its secret."""
        secret = self.factor.begin(self.connection, account)
        code = code_at(secret, now)
        self.factor.confirm(self.connection, account, code, now=now)
        return secret

    def consent(self, account: str, **changes: Any) -> str:
        """Give a consent and return its id."""
        signed = self.consents.issue(
            self.connection, account, draft(**changes), BOTH_FACTORS, now=NOW
        )
        return signed.body.jti
