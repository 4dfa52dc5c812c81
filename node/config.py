# SPDX-License-Identifier: Apache-2.0
"""The settings of a node: frozen, one line each.

Every setting has a name (with its unit), a type, a default and a sentence, and stands
in a closed table: an unknown key is a typo and refused. Secrets are never settings: a
setting names the file that holds one, so that systemd credentials and container secrets
work. `node.config_file` reads and writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from federation.versions import VERSIONS
from protocol.ids import CityId, MunicipalCode, NodeId
from protocol.membership import Role
from protocol.stream import CHUNK_BYTES
from protocol.suites import Suite

FOLDER = "folder"
"""Validation context: the folder of the settings file."""


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _anchored(path: Path | None, info: ValidationInfo) -> Path | None:
    """Take relative paths from the settings file, not from where a shell stands."""
    folder = (info.context or {}).get(FOLDER)
    return Path(folder) / path if path is not None and folder is not None else path


OptionalPath: TypeAlias = Annotated[
    Path | None, BeforeValidator(_empty_is_none), AfterValidator(_anchored)
]
Positive: TypeAlias = Annotated[int, Field(gt=0)]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
Rate: TypeAlias = Annotated[float, Field(gt=0)]


def setting(default: Any, sentence: str, *, unit: str = "") -> Any:
    """Declare one setting; `...` as default makes it required."""
    return Field(default, description=sentence, json_schema_extra={"unit": unit})


class Table(BaseModel):
    """A table of the settings file: closed and frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Words(Table):
    """A name as people read it."""

    ja: str = setting("", "Name in Japanese.")
    en: str = setting("", "Name in English.")


class NodeTable(Table):
    """Who this node is."""

    id: NodeId = setting(..., "Id of this node: city, slash, label.")
    title: Words = setting(Words(), "Name of the organization, as residents see it.")
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = setting(
        (Role.VAULT,), "What this node does; the city confirms it in the membership."
    )


class CityTable(Table):
    """The city that this node belongs to."""

    title: Words = setting(Words(), "Name of the city.")
    municipal_code: MunicipalCode | None = setting(
        None, "全国地方公共団体コード, six digits with check digit."
    )
    root_key_file: OptionalPath = setting(
        None, "The city's public root key (JWK); empty: city-root.jwk in data_dir."
    )


class MasterKeyTable(Table):
    """Where the key comes from that seals all others; exactly one of the two."""

    passphrase_file: OptionalPath = setting(
        None, "File with a passphrase, from which Argon2id makes the master key."
    )
    key_file: OptionalPath = setting(None, "File with 32 random bytes.")

    @model_validator(mode="after")
    def _not_both(self) -> MasterKeyTable:
        if self.passphrase_file and self.key_file:
            raise ValueError("name passphrase_file or key_file, not both")
        return self


class ApiTable(Table):
    """The HTTP interface for the organization's own applications, and the portal."""

    host: str = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8080, "Port to listen on; 0 picks a free one.")
    public_url: str = setting("", "URL under which browsers and applications reach it.")
    unix_socket: OptionalPath = setting(
        None, "Socket for operators, mode 0600; empty: admin.sock in data_dir."
    )
    callback_urls: tuple[str, ...] = setting(
        (), "Where callbacks of reads may go: URLs that they must start with."
    )
    tls_certificate_file: OptionalPath = setting(
        None, "Certificate chain (PEM); empty where a proxy in front does TLS."
    )
    tls_key_file: OptionalPath = setting(None, "Private key of the certificate (PEM).")


class LinkTable(Table):
    """Where a broker listens for links; other nodes only dial out."""

    host: str = setting("", "Address to listen on; empty on all.")
    port: Port = setting(8443, "Port to listen on; 0 picks a free one.")
    public_url: str = setting("", "URL under which nodes and brokers dial this broker.")
    tls_certificate_file: OptionalPath = setting(
        None, "Certificate (PEM); empty: tls.crt in data_dir."
    )
    tls_key_file: OptionalPath = setting(
        None, "Private key of the certificate (PEM); empty: tls.key in data_dir."
    )


class RoutingTable(Table):
    """Which way a broker takes where several lead to a city."""

    prefer: tuple[CityId, ...] = setting(
        (), "Neighbor cities to take first, however long their way is."
    )
    avoid: tuple[CityId, ...] = setting(
        (), "Neighbor cities to take only where nobody else leads there."
    )

    @model_validator(mode="after")
    def _not_both(self) -> RoutingTable:
        if {*self.prefer} & {*self.avoid}:
            raise ValueError("a neighbor cannot be preferred and avoided")
        return self


class TrustTable(Table):
    """How long words of others are believed."""

    membership_life_days: Positive = setting(
        7, "Life of the memberships that a broker signs.", unit="days"
    )
    rotation_overlap_days: Positive = setting(
        8,
        "How long a city accepts a member's replaced keys; longer than memberships "
        "live, no exchange is lost.",
        unit="days",
    )
    rotation_age_days: Annotated[int, Field(ge=0)] = setting(
        0,
        "Age at which this node changes its own keys by itself; 0: never.",
        unit="days",
    )
    skew_s: Annotated[int, Field(ge=0, le=300)] = setting(
        5, "How far two clocks may differ.", unit="s"
    )
    oldest_link_version: Annotated[int, Field(ge=1, le=VERSIONS[-1])] = setting(
        1, "Oldest link version spoken; raise it once all peers are up to date."
    )
    status_max_age_s: Positive = setting(
        60, "Greatest age of a freshness proof; bounds a withdrawal's delay.", unit="s"
    )
    status_epoch_s: Positive = setting(
        20, "Time between two status lists of a home node.", unit="s"
    )

    @model_validator(mode="after")
    def _proofs_overlap(self) -> TrustTable:
        if self.status_epoch_s * 2 > self.status_max_age_s:
            raise ValueError("status_epoch_s must be at most half of status_max_age_s")
        return self


class LimitsTable(Table):
    """Bounds of what others may ask of this node, and of what it keeps in memory."""

    max_body_bytes: Positive = setting(
        16_777_216, "Longest request or answer that is not streamed.", unit="bytes"
    )
    hops: Annotated[int, Field(ge=1, le=16)] = setting(
        6, "Most brokers that an exchange may pass."
    )
    deadline_ms: Positive = setting(
        10_000, "Time that an exchange has if the caller says nothing.", unit="ms"
    )
    deadline_max_ms: Positive = setting(
        120_000, "Most time that a caller may give an exchange.", unit="ms"
    )
    client_rate_per_s: Rate = setting(
        500.0, "Requests of one application, on average.", unit="1/s"
    )
    client_burst: Positive = setting(1_000, "Requests of one application at once.")
    peer_rate_per_s: Rate = setting(
        5_000.0, "Exchanges of one peer, on average.", unit="1/s"
    )
    peer_burst: Positive = setting(10_000, "Exchanges of one peer at once.")
    delay_max_ms: Annotated[int, Field(ge=0, le=10_000)] = setting(
        500, "How long who is over its rate is delayed before it is refused.", unit="ms"
    )
    broker_in_flight: Positive = setting(
        8_192, "Exchanges that a broker carries at once; no peer gets over half."
    )
    received_bytes: Positive = setting(
        268_435_456,
        "Bytes of requests and answers in hand on all links; no peer gets over half.",
        unit="bytes",
    )
    api_in_flight: Positive = setting(
        512, "Calls of applications at once; no application gets over half."
    )
    failed_attempts: Positive = setting(
        10, "Failed sign-ins of one client or address before it has to wait."
    )
    failed_attempts_per_min: Rate = setting(
        6.0, "Further failed sign-ins that are allowed after that.", unit="1/min"
    )
    answers_kept_bytes: Positive = setting(
        33_554_432,
        "Answers kept for requests that come again over another path.",
        unit="bytes",
    )
    token_life_s: Positive = setting(3_600, "Life of an access token.", unit="s")
    attachment_bytes: Positive = setting(
        1_099_511_627_776, "Longest attachment of a record.", unit="bytes"
    )
    stream_segment_bytes: Annotated[int, Field(ge=65_536, le=4_194_304)] = setting(
        1_048_576, "Part of an attachment in one exchange; whole chunks.", unit="bytes"
    )
    stream_window: Annotated[int, Field(ge=1, le=16)] = setting(
        4, "Parts of one attachment that are fetched at the same time."
    )
    stream_parts: Annotated[int, Field(ge=1, le=64)] = setting(
        8, "Parts that a holder reads from disk at the same time, for all requesters."
    )
    stream_patience_s: Positive = setting(
        60, "How long a transfer without progress is tried again.", unit="s"
    )
    link_requests_out: Positive = setting(
        4_096, "Requests of ours that wait for an answer on one link."
    )
    link_requests_in: Positive = setting(
        1_024, "Requests of a peer that are handled at the same time."
    )
    link_bytes: Positive = setting(
        67_108_864, "Bytes in hand on one link, each way.", unit="bytes"
    )
    write_queue: Positive = setting(4_096, "Database writes that may wait.")
    write_group: Positive = setting(64, "Most database writes in one commit.")
    scan_threads: Annotated[int, Field(ge=1, le=16)] = setting(
        2, "Threads for long database reads."
    )
    outbox_backoff_max_s: Positive = setting(
        300, "Longest wait between two attempts to deliver.", unit="s"
    )
    outbox_per_destination: Positive = setting(
        100_000, "Messages that may wait for one destination; withdrawals always may."
    )
    outbox_life_days: Annotated[int, Field(ge=1, le=365)] = setting(
        30, "How long a message is tried; withdrawals are never given up.", unit="days"
    )
    waiting_reads: Positive = setting(
        10_000, "Reads of ours that may wait for their holders, results included."
    )
    waiting_reads_per_client: Positive = setting(
        1_000, "Such reads of one application."
    )
    waiting_max_days: Annotated[int, Field(ge=1, le=30)] = setting(
        7, "Longest that a read may wait for its holder.", unit="days"
    )
    waiting_default_h: Positive = setting(
        24, "How long a read waits if the application says nothing.", unit="h"
    )
    result_life_h: Positive = setting(
        24, "How long results of reads that waited are kept.", unit="h"
    )
    waits_per_requester: Positive = setting(
        5_000, "Waits that a broker keeps for one node that asks to be told."
    )
    waits_per_city: Positive = setting(
        20_000, "Waits that a broker keeps for the nodes of one city."
    )
    waits_per_holder: Positive = setting(
        10_000, "Waits that a broker keeps for one node of its own city."
    )
    dead_letter_days: Positive = setting(
        90, "How long messages are kept that could not be delivered.", unit="days"
    )


class DiscoveryTable(Table):
    """How nodes nearby are found; what is found is never trusted for that."""

    zeroconf: bool = setting(False, "Announce and look on the local network.")
    interfaces: tuple[str, ...] = setting(
        ("127.0.0.1",), "IP addresses of the interfaces to announce and look on."
    )


class EvidenceTable(Table):
    """What is signed about exchanges with neighbors, and looked at afterwards."""

    batch_s: Annotated[int, Field(gt=0, le=60)] = setting(
        5, "Time between two signed batches of one link.", unit="s"
    )
    silent_s: Positive = setting(
        60,
        "How long a linked peer may keep its batches back before an alarm.",
        unit="s",
    )
    keep_days: Positive = setting(
        90, "How long batches, routes and seen alarms are kept.", unit="days"
    )
    audit_share: Annotated[float, Field(ge=0, le=1)] = setting(
        0.01, "Share of own exchanges whose route is proven afterwards."
    )


class LogTable(Table):
    """What the node writes about its work; never personal data."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Least important lines that are written."
    )
    format: Literal["json", "text"] = setting(
        "json", "JSON lines for machines or text for a terminal."
    )


class CaptureTable(Table):
    """Proof of what this party learned: records every byte received."""

    path: OptionalPath = setting(
        None, "Folder for what was received; empty: nothing is recorded."
    )


class MetricsTable(Table):
    """Figures for Prometheus under /metrics."""

    enabled: bool = setting(True, "Serve the figures.")
    open: bool = setting(
        False, "Serve them without a token; otherwise the scope status:read is needed."
    )


class ExpiryTable(Table):
    """When warnings begin of what ends and does not renew itself."""

    warn_days: Positive = setting(
        30,
        "Warn so long before an agreement, certificate or qualification ends.",
        unit="days",
    )
    consent_warn_days: Positive = setting(
        14, "Warn so long before consents that were received end.", unit="days"
    )


class Settings(Table):
    """All settings of one node."""

    data_dir: Annotated[Path, AfterValidator(_anchored)] = setting(
        ..., "Folder of everything that this node keeps."
    )
    suite: Suite = setting(
        Suite.HYBRID, "Algorithms this node signs and seals with: hybrid or strict."
    )
    accepted_suites: tuple[Suite, ...] = setting(
        (), "Algorithms accepted from others; empty: both, or strict if suite is."
    )
    brokers: tuple[str, ...] = setting(
        (), "URLs of the city's brokers that this node dials (wss://…)."
    )
    node: NodeTable
    city: CityTable = CityTable()
    master_key: MasterKeyTable = MasterKeyTable()
    api: ApiTable = ApiTable()
    link: LinkTable = LinkTable()
    routing: RoutingTable = RoutingTable()
    trust: TrustTable = TrustTable()
    limits: LimitsTable = LimitsTable()
    discovery: DiscoveryTable = DiscoveryTable()
    evidence: EvidenceTable = EvidenceTable()
    log: LogTable = LogTable()
    capture: CaptureTable = CaptureTable()
    metrics: MetricsTable = MetricsTable()
    expiry: ExpiryTable = ExpiryTable()

    @property
    def accepts(self) -> frozenset[Suite]:
        """The suites that documents of others may use."""
        if self.accepted_suites:
            return frozenset(self.accepted_suites)
        strict = self.suite is Suite.STRICT
        return frozenset({Suite.STRICT} if strict else Suite)

    @property
    def city_id(self) -> CityId:
        """The city of this node."""
        return self.node.id.city

    @property
    def database_file(self) -> Path:
        """The database."""
        return self.data_dir / "node.sqlite3"

    @property
    def segment_bytes(self) -> int:
        """Most content of an attachment in one exchange: whole chunks that fit in."""
        room = self.limits.max_body_bytes - 2 * CHUNK_BYTES
        most = min(self.limits.stream_segment_bytes, room)
        return max(CHUNK_BYTES, most - most % CHUNK_BYTES)

    @property
    def attachments_folder(self) -> Path:
        """The files of attachments, sealed."""
        return self.data_dir / "attachments"

    @property
    def admin_socket(self) -> Path:
        """The operators' socket."""
        return self.api.unix_socket or self.data_dir / "admin.sock"

    @property
    def root_key_file(self) -> Path:
        """The city's public root key."""
        return self.city.root_key_file or self.data_dir / "city-root.jwk"

    @property
    def link_certificate(self) -> tuple[Path, Path]:
        """Certificate and private key of a broker's listener."""
        return (
            self.link.tls_certificate_file or self.data_dir / "tls.crt",
            self.link.tls_key_file or self.data_dir / "tls.key",
        )
