# SPDX-License-Identifier: Apache-2.0
"""Parts of attachments leave as the field leaves that they are filed under."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.decision import Deny, HolderPolicy
from protocol.errors import Misuse, Replayed
from protocol.ids import AttachmentId, ExchangeId, RecordId
from protocol.provision import ProvisionRecord
from protocol.request import Fetch, Read
from protocol.status import Status
from tests.vault.world import (
    DIGEST,
    NOW_MS,
    World,
    asked,
    case,
    consent,
    exchange,
    freshness,
    membership,
    scope,
)
from vault.keyring import SubjectId
from vault.segments import PreparedPart

FILE = "9" * 43


class Clinic:
    """A person with two records, one of which has an attachment."""

    def __init__(self, world: World, field: str = "result") -> None:
        self.world, self.vault = world, world.vault
        self.person = world.person()
        self.record = RecordId(world.store(self.person, {"result": "A"}).record)
        self.other = RecordId(world.store(self.person, {"result": "B"}).record)
        self.name = self.attach(self.record, field)

    def attach(self, record: RecordId, field: str) -> AttachmentId:
        """Attach something; its file does not matter here."""
        store = self.vault.attachments
        upload = self.world.write(
            lambda c: store.begin(c, record, field, "image/png", "x.png", NOW_MS)
        )
        self.world.write(lambda c: store.finish(c, upload, 100, FILE, NOW_MS))
        return upload.id

    def fetch(self, **changes: Any) -> Fetch:
        """Return what asks for it."""
        values: dict[str, Any] = {
            "record": self.record,
            "attachment": self.name,
            "length": 100,
        }
        return Fetch(**{**values, **changes})

    def prepare(
        self,
        query: Fetch | None = None,
        subject: SubjectId | None = None,
        number: int = 1,
        **changes: Any,
    ) -> PreparedPart | Deny:
        """Decide on it."""
        return self.world.read(
            lambda c: self.vault.segments.prepare(
                c,
                case(**changes),
                subject or self.person,
                query or self.fetch(),
                asked(number),
            )
        )

    def part(self, **changes: Any) -> PreparedPart:
        """Return a part that is permitted."""
        prepared = self.prepare(**changes)
        assert isinstance(prepared, PreparedPart), prepared
        return prepared

    def reason(self, **changes: Any) -> str:
        """Return why it is refused."""
        prepared = self.prepare(**changes)
        assert isinstance(prepared, Deny), prepared
        return prepared.reason


@pytest.fixture
def clinic(world: World) -> Clinic:
    """Return a clinic with an attachment."""
    return Clinic(world)


def test_permitted_part_says_what_it_is_of(clinic: Clinic) -> None:
    """And the provision record names it, with the field."""
    part = clinic.part()
    assert part.told.id == clinic.name
    assert part.told.name == "x.png"
    clinic.world.write(lambda c: clinic.vault.segments.commit(c, part, DIGEST))
    found = clinic.world.read(
        lambda c: clinic.vault.provisions.find(c, exchange(1), "provision")
    )
    assert isinstance(found, ProvisionRecord)
    assert (found.attachment, found.fields) == (clinic.name, ("result",))
    assert found.records == (clinic.record,)
    with pytest.raises(Replayed):
        clinic.world.write(lambda c: clinic.vault.segments.commit(c, part, DIGEST))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"consent": None}, "consent-missing"),
        ({"subject_bound": False}, "consent-not-for-subject"),
        ({"purpose": "statistics"}, "field-outside-purpose"),
        ({"freshness": freshness(revoked=Status.WITHDRAWN)}, "consent-withdrawn"),
        ({"freshness": freshness(proof=None)}, "proof-missing"),
        ({"recipient": membership(data_classes=())}, "membership-class"),
        ({"policy": HolderPolicy(shared=False)}, "policy-denied"),
        (
            {"policy": HolderPolicy(withheld_fields=frozenset({"result"}))},
            "nothing-left",
        ),
        ({"consent": consent(scope=(scope(fields=("weight",)),))}, "nothing-left"),
    ],
)
def test_what_a_read_would_not_give_a_fetch_does_not(
    clinic: Clinic, changes: dict[str, Any], reason: str
) -> None:
    """The same decision with the same reasons."""
    assert clinic.reason(**changes) == reason


def test_consent_for_other_records_gives_nothing(clinic: Clinic) -> None:
    """A consent that names records holds for their attachments alone."""
    only = consent(scope=(scope(records=(clinic.other,)),))
    assert clinic.reason(consent=only) == "consent-record"
    named = consent(scope=(scope(records=(clinic.record,)),))
    assert clinic.part(consent=named).record == clinic.record


def test_attachment_is_of_its_record_alone(clinic: Clinic) -> None:
    """It cannot be had under another record's id, which a consent may name."""
    assert clinic.reason(query=clinic.fetch(record=clinic.other)) == "not-found"


def test_attachment_of_somebody_else_is_not_there(clinic: Clinic) -> None:
    """The person is the ticket's, whoever's id is asked for."""
    other = clinic.world.person("P-2")
    assert clinic.reason(subject=other) == "not-found"


def test_attachment_of_another_type_is_not_there(clinic: Clinic) -> None:
    """Brokers and decision judged the type that the header names."""
    world = clinic.world
    place = world.write(
        lambda c: clinic.vault.intake.store(
            c, "city.places", clinic.person, {"name": "A"}, now_ms=NOW_MS
        )
    )
    name = clinic.attach(RecordId(place.record), "name")
    query = clinic.fetch(record=place.record, attachment=name)
    assert clinic.reason(query=query) == "not-found"


def test_unknown_attachment_is_refused_like_any(clinic: Clinic) -> None:
    """After the decision: who may not read learns nothing of what is there."""
    query = clinic.fetch(attachment=AttachmentId(clinic.name[:-4] + "ffff"))
    assert clinic.reason(query=query) == "not-found"
    assert clinic.reason(query=query, consent=None) == "consent-missing"


def test_hidden_holder_has_other_names_under_each_consent(clinic: Clinic) -> None:
    """Its real ones are unknown there, and the file's name is left out."""
    agreed = consent(hidden_holder=True)
    hidden = {"hidden": True, "consent": agreed}
    assert clinic.reason(**hidden) == "not-found"
    release = clinic.vault.release
    record = release.hidden_id(agreed.jti, clinic.record)
    name = release.hidden_attachment(agreed.jti, clinic.name)
    query = clinic.fetch(record=record, attachment=name)
    part = clinic.part(query=query, **hidden)
    assert (part.told.id, part.told.name) == (name, None)
    other = consent(hidden_holder=True, jti=agreed.jti[:-1] + "d")
    assert clinic.reason(query=query, hidden=True, consent=other) == "not-found"


def test_field_that_names_the_holder_is_cut_with_its_attachments(
    world: World,
) -> None:
    """In a hidden read, like the field itself."""
    clinic = Clinic(world, "facility")
    assert clinic.part().told.field == "facility"
    agreed = consent(hidden_holder=True)
    release = clinic.vault.release
    query = clinic.fetch(
        record=release.hidden_id(agreed.jti, clinic.record),
        attachment=release.hidden_attachment(agreed.jti, clinic.name),
    )
    reason = clinic.reason(query=query, hidden=True, consent=agreed)
    assert reason == "nothing-left"


def test_open_transfer_is_one_s_own(clinic: Clinic) -> None:
    """The same recipient, consent version, purpose and attachment, after a restart."""
    first = clinic.part()
    clinic.world.write(lambda c: clinic.vault.segments.commit(c, first, DIGEST))
    clinic.world.restart()
    clinic.vault = clinic.world.vault
    second = clinic.attach(clinic.record, "result")
    later = clinic.fetch(transfer=exchange(1))

    def is_open(query: Fetch = later, **changes: Any) -> bool:
        part = clinic.part(query=query, number=2, **changes)
        return clinic.world.read(lambda c: clinic.vault.segments.is_open(c, part))

    assert is_open()
    assert not is_open(query=clinic.fetch(transfer=exchange(9)))
    assert not is_open(query=clinic.fetch())
    assert not is_open(consent=consent(version=2))
    assert not is_open(
        query=clinic.fetch(attachment=second, transfer=ExchangeId(exchange(1)))
    )
    with pytest.raises(Misuse):
        part = clinic.part(query=later, number=2)
        clinic.world.write(lambda c: clinic.vault.segments.commit(c, part, DIGEST))


def test_read_tells_attachments_of_released_fields_alone(clinic: Clinic) -> None:
    """Where it asks for them; the others are not even named."""
    hidden = clinic.attach(clinic.record, "tags")
    prepared = clinic.world.prepare(clinic.person, Read(attachments=True))
    by_id = {record.id: record for record in prepared.result.records}
    told = by_id[clinic.record].attachments
    assert [info.id for info in told] == [clinic.name]
    assert hidden not in [info.id for info in told]
    assert by_id[clinic.other].attachments == ()
    plain = clinic.world.prepare(clinic.person, Read())
    assert all(record.attachments is None for record in plain.result.records)
