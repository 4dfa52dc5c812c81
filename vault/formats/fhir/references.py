# SPDX-License-Identifier: Apache-2.0
"""What the references in a file mean: patients by number, others by name.

Nothing is guessed about people: two patients under one reference, or a patient of
another server, are nobody. In a document (a bundle with a Composition) the Composition
says what its resources leave out: whose they are, the day and the facility. Japanese
checkup reports (健診結果報告書) are written that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.fhir.patient import full_name, patient_number
from vault.formats.fhir.source import Entry
from vault.formats.problems import BadValue
from vault.formats.values import read_subject

T = TypeVar("T")

_PLACES: Final = ("Organization", "Location", "HealthcareService")
_OF_ENCOUNTERS: Final = ("period", "serviceProvider")
_OF_COMPOSITIONS: Final = ("subject", "encounter", "event", "custodian", "author")


class Index(Generic[T]):
    """Values by the references that lead to them, within a document first."""

    def __init__(self) -> None:
        self._found: dict[str, list[T]] = {}
        self._located: set[str] = set()

    def put(self, entry: Entry, value: T) -> None:
        """Note a value under every reference to the entry's resource."""
        kind = e.text(entry.resource, "resourceType")
        own_id = e.text(entry.resource, "id")
        own = f"{kind}/{own_id}" if own_id else ""
        if "://" in entry.full_url:
            self._located.add(own)
        for key in {entry.full_url, own} - {""}:
            for scope in (f"{entry.document}|", ""):
                known = self._found.setdefault(scope + key, [])
                if value not in known:
                    known.append(value)

    def find(self, target: str, document: int) -> list[T]:
        """Return what a reference may mean; more than one value is ambiguous."""
        keys = [target]
        relative = _relative(target)
        # The same id on another server is another resource.
        if "://" not in target or relative not in self._located:
            keys.append(relative)
        scoped = [f"{document}|{key}" for key in keys]
        return next((self._found[k] for k in (*scoped, *keys) if k in self._found), [])


@dataclass(slots=True)
class Directory:
    """Who and what the references of a file mean, gathered in a first pass.

    Attributes:
        systems: identifier systems of patient numbers, the preferred first.
        has_patients: whether the file describes patients at all; if not, references
            name the server's ids, which then stand for the patients.
    """

    systems: Sequence[str] = ()
    has_patients: bool = False
    patients: Index[str] = field(default_factory=Index)
    names: Index[tuple[str, str]] = field(default_factory=Index)
    drugs: Index[Element] = field(default_factory=Index)
    encounters: Index[Element] = field(default_factory=Index)
    compositions: dict[int, Element] = field(default_factory=dict)

    def learn(self, entry: Entry) -> None:
        """Take note of a resource that others may refer to."""
        resource = entry.resource
        kind = e.text(resource, "resourceType")
        if kind == "Patient":
            self.has_patients = True
            self.patients.put(entry, patient_number(resource, self.systems))
        elif kind == "Medication":
            self.drugs.put(entry, e.member(resource, "code"))
        elif kind == "Encounter":
            self.encounters.put(entry, _part(resource, _OF_ENCOUNTERS))
        elif kind == "Composition":
            part = _part(resource, _OF_COMPOSITIONS)
            self.compositions.setdefault(entry.document, part)
        elif name := _own_name(resource):
            self.names.put(entry, (kind, name))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a resource's references mean, seen from where it stands."""

    directory: Directory
    entry: Entry

    @property
    def resource(self) -> Element:
        """The resource itself."""
        return self.entry.resource

    @property
    def composition(self) -> Element:
        """What is said of the whole document, if there is one."""
        return self.directory.compositions.get(self.entry.document, e.NOTHING)

    def subject(self, member: str) -> str:
        """Return the patient number of the resource.

        Args:
            member: the member that refers to the patient.

        Raises:
            BadValue: subject-missing, patient-unknown, patient-ambiguous,
                patient-without-number, my-number-refused.
        """
        reference = e.member(self.resource, member)
        reference = reference or e.member(self.composition, "subject")
        target = e.text(reference, "reference")
        if not target:
            return read_subject(e.member(reference, "identifier").get("value"))
        if target.startswith("#"):
            patient = self._contained(target)
            if e.text(patient, "resourceType") != "Patient":
                raise BadValue("patient-unknown")
            found = [patient_number(patient, self.directory.systems)]
        else:
            found = self.directory.patients.find(target, self.entry.document)
        kind, _, own_id = _relative(target).rpartition("/")
        if not found and not self.directory.has_patients and kind == "Patient":
            found = [own_id]
        if not found:
            raise BadValue("patient-unknown")
        if len(found) > 1:
            raise BadValue("patient-ambiguous")
        if not found[0]:
            raise BadValue("patient-without-number")
        return read_subject(found[0])

    def occasion(self) -> str:
        """Return the start of the encounter, else of what the document reports."""
        visit = e.member(self._encounter(), "period")
        events = e.members(self.composition, "event")
        periods = [visit, *(e.member(event, "period") for event in events)]
        return next((t for t in (e.text(p, "start") for p in periods) if t), "")

    def _encounter(self) -> Element:
        """Return period and provider of the encounter, the document's in doubt."""
        own = e.member(self.resource, "encounter")
        target = e.text(own or e.member(self.composition, "encounter"), "reference")
        if target.startswith("#"):
            return self._contained(target)
        found = self.directory.encounters.find(target, self.entry.document)
        return found[0] if len(found) == 1 else e.NOTHING

    def names(self, references: Iterable[Element]) -> tuple[str, str]:
        """Return the first facility's and the first person's name among these.

        Where no facility is named, it is the encounter's or the document's.
        """
        facility = person = ""
        for reference in references:
            kind, name = self._named(reference)
            if kind in _PLACES:
                facility = facility or name
            else:
                person = person or name
        if not facility:
            authors = e.members(self.composition, "author")
            others = [
                e.member(self._encounter(), "serviceProvider"),
                e.member(self.composition, "custodian"),
                *authors,
            ]
            named = map(self._named, others)
            facility = next((n for kind, n in named if kind in _PLACES and n), "")
        return facility, person

    def _named(self, reference: Element) -> tuple[str, str]:
        """Return kind and name of what a reference means."""
        target = e.text(reference, "reference")
        shown = e.text(reference, "display")
        if target.startswith("#"):
            inside = self._contained(target)
            return e.text(inside, "resourceType"), _own_name(inside) or shown
        found = self.directory.names.find(target, self.entry.document)
        if len(found) == 1:
            return found[0]
        kind = e.text(reference, "type") or _relative(target).partition("/")[0]
        return kind, shown

    def drug(self) -> Element:
        """Return the concept of a medication, whether given or referred to."""
        concept = e.member(self.resource, "medicationCodeableConcept")
        if concept:
            return concept
        reference = e.member(self.resource, "medicationReference")
        target = e.text(reference, "reference")
        if target.startswith("#"):
            return e.member(self._contained(target), "code")
        found = self.directory.drugs.find(target, self.entry.document)
        return found[0] if len(found) == 1 else {"text": e.text(reference, "display")}

    def _contained(self, target: str) -> Element:
        inside = e.members(self.resource, "contained")
        return next((c for c in inside if e.text(c, "id") == target[1:]), e.NOTHING)


def _part(resource: Element, names: Sequence[str]) -> Element:
    """Return these members alone: the rest need not be held for the whole file."""
    return {name: resource[name] for name in names if name in resource}


def _relative(reference: str) -> str:
    """Return `Type/id` of a reference of any form."""
    whole = reference.partition("/_history/")[0]
    return "/".join(whole.rsplit("/", 2)[-2:])


def _own_name(resource: Element) -> str:
    plain = e.text(resource, "name")
    return plain or next(
        (shown for shown in map(full_name, e.members(resource, "name")) if shown), ""
    )
