# SPDX-License-Identifier: Apache-2.0
"""What each role adds to a node (requirement 1: roles are configuration)."""

from __future__ import annotations

from federation.directory import Directory
from identity.entropy import new_id
from identity.nameless import NamelessKeys
from node.builder import Builder
from node.callbacks import Callbacks
from node.home_parts import HomeParts
from node.keys import IDENTITY, INDEX, VAULT
from node.locator import Locator
from node.residents import ResidentDesk
from node.roles.directory import DirectoryDesk
from node.roles.fetches import FetchDesk
from node.roles.holder import HolderDesk
from node.roles.home import HomeDesk
from node.roles.locations import LocationDesk
from node.roles.provider import ProviderDesk
from node.roles.recipient import RecipientDesk
from node.waiting import WaitingDesk, WaitingLimits
from node.warrants import Warrants

_DAY_MS = 86_400_000


def add_directory(b: Builder) -> None:
    """Add the location directory."""
    directory = Directory(city=b.node.city, index_key=b.keys.secret(INDEX))
    desk = DirectoryDesk(directory=directory, trust=b.trust, database=b.database)
    b.exchanges.on(desk.handlers())


def add_vault(b: Builder) -> None:
    """Add holder, recipient, provider and the registration of locations."""
    settings, parts, trust = b.settings, b.parts, b.trust
    nameless = NamelessKeys(secret=b.keys.secret(VAULT), entropy=b.world.entropy)
    lists = b.vault.lists
    warrants = Warrants(node=b.node, opening=b.opening, trust=trust, lists=lists)
    parts.holder = HolderDesk(
        node=b.node,
        suite=settings.suite,
        vault=b.vault,
        warrants=warrants,
        nameless=nameless,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        now_ms=b.now_ms,
    )
    fetches = FetchDesk(
        holder=parts.holder,
        vault=b.vault,
        attachments=b.attachments,
        transfers=b.transfers,
        database=b.database,
        segment_bytes=settings.segment_bytes,
        parts=settings.limits.stream_parts,
    )
    parts.recipient = RecipientDesk(
        node=b.node,
        signer=b.signer,
        opening=b.opening,
        membership=b.standing.membership,
        vault=b.vault,
        trust=trust,
        warrants=warrants,
        proofs=b.proofs,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        new_id=lambda: new_id(b.now_ms() // 1000, b.world.entropy),
    )
    parts.locations = LocationDesk(
        node=b.node,
        vault=b.vault,
        trust=trust,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
        now_ms=b.now_ms,
    )
    parts.provider = ProviderDesk(
        node=b.node,
        vault=b.vault,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        proofs=b.proofs,
        fresh=b.fresh,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
        max_age_s=settings.trust.status_max_age_s,
        skew_s=b.skew_s,
        now_ms=b.now_ms,
        entropy=b.world.entropy,
    )
    _add_waiting(b)
    b.fresh.refresh = parts.recipient.refresh
    b.exchanges.member_secret = parts.holder.member_secret
    b.exchanges.on(parts.holder.handlers())
    b.exchanges.on(fetches.handlers())
    b.exchanges.on(parts.recipient.handlers())


def _add_waiting(b: Builder) -> None:
    """Add reads that wait for their holders, and the calls when they have ended."""
    limits, parts, world = b.settings.limits, b.parts, b.world
    waiting = WaitingDesk(
        reader=parts.reader,
        vault=b.vault,
        database=b.database,
        clock=world.clock,
        entropy=world.entropy,
        limits=WaitingLimits(
            total=limits.waiting_reads,
            per_client=limits.waiting_reads_per_client,
            longest_ms=limits.waiting_max_days * _DAY_MS,
            usual_ms=limits.waiting_default_h * 3_600_000,
            results_ms=limits.result_life_h * 3_600_000,
            back_off_ms=limits.outbox_backoff_max_s * 1000,
        ),
    )
    parts.callbacks = Callbacks(
        store=b.vault.waiting,
        database=b.database,
        clock=world.clock,
        post=world.post,
        permitted=b.settings.api.callback_urls,
    )
    waiting.on_ended = parts.callbacks.wake
    parts.waiting = b.back.waiting = waiting


def add_identity(b: Builder) -> None:
    """Add the home node."""
    trust = b.settings.trust
    home = HomeParts.assemble(
        node=b.node,
        signer=b.signer,
        identity_key=b.keys.secret(IDENTITY),
        index_key=b.keys.secret(INDEX),
        entropy=b.world.entropy,
        max_age_s=trust.status_max_age_s,
        epoch_s=trust.status_epoch_s,
        skew_s=b.skew_s,
    )
    desk = HomeDesk(
        parts=home,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        trust=b.trust,
        standing=b.standing,
        outbox=b.outbox,
        deliveries=b.deliveries,
        database=b.database,
    )
    b.parts.residents = ResidentDesk(
        parts=home, desk=desk, database=b.database, now_ms=b.now_ms
    )
    b.parts.locator = Locator(
        parts=home,
        exchanges=b.exchanges,
        addressbook=b.addressbook,
        trust=b.trust,
        database=b.database,
        now_ms=b.now_ms,
    )
    b.exchanges.on(desk.handlers())
