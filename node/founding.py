# SPDX-License-Identifier: Apache-2.0
"""How a city begins: its operating key is certified, its broker becomes a member.

The root key signs once, at the operator's desk, and then stays offline; the broker runs
with the operating key. The broker is the city's first member, admitted by itself.
"""

from __future__ import annotations

from collections.abc import Callable

from identity.city import Allowance, Authority
from identity.join import request_to_join
from identity.keys import KeyStore
from identity.operating_keys import OperatingKeys
from identity.root import RootKey, issue_operating
from identity.trust import TrustStore
from node.config import Settings
from node.database import Database
from node.keys import OPERATING, TOKENS, has_operating, node_keys
from node.standing import Standing
from protocol.membership import Credentials, DataClass

OPERATING_DAYS = 366


async def found_city(
    settings: Settings,
    keys: KeyStore,
    root: RootKey,
    database: Database,
    *,
    now: int,
    entropy: Callable[[int], bytes],
) -> Credentials:
    """Certify the operating key and admit the broker.

    Args:
        settings: of the broker node.
        keys: its keys; those of the city are made if they are missing.
        root: the city's opened root key.
        database: the broker's database.
        now: seconds since 1970.
        entropy: random bytes.

    Returns:
        What the broker shows to others: its membership, and the certificate.
    """
    node = settings.node.id
    if not has_operating(keys):
        keys.create_signing(OPERATING, settings.suite)
    if not keys.has(TOKENS):
        keys.create_opening(TOKENS, settings.suite)
    operating, own = OperatingKeys(keys, OPERATING), node_keys(keys)
    trust = TrustStore(city=node.city, root=root.signer.public, suites=settings.accepts)
    standing = Standing(node=node, keys=own, trust=trust, database=database)
    standing.load(now)
    before = trust.chains.newest(node.city)
    if before is not None and operating.has(before.body.verifying_key()):
        operating.use(before.body.verifying_key())
    certificate = issue_operating(
        root.signer,
        node.city,
        operating.public,
        now=now,
        days=OPERATING_DAYS,
        entropy=entropy,
        before=None if before is None else before.body,
    )
    pair = own.present if standing.admitted else own.newest
    request = request_to_join(
        node,
        pair.signer,
        pair.opening.public,
        title=settings.node.title.model_dump(),
        roles=settings.node.roles,
        now=now,
        entropy=entropy,
    )
    authority = Authority(
        city=node.city,
        operating=operating,
        entropy=entropy,
        membership_s=settings.trust.membership_life_days * 86_400,
        overlap_s=settings.trust.rotation_overlap_days * 86_400,
        suites=settings.accepts,
    )
    allowance = Allowance(
        roles=settings.node.roles, qualifications=(), data_classes=tuple(DataClass)
    )
    membership = await database.write(
        lambda c: authority.admit(c, request.token, allowance, now=now)
    )
    credentials = Credentials(membership=membership.token, operating=certificate.token)
    await standing.accept(credentials, now)
    return credentials
