# SPDX-License-Identifier: Apache-2.0
"""What the references in a file mean: patients by number, others by name.

Nothing is guessed about people: two patients under one reference, or a patient of
another server, are nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.fhir.patient import full_name, patient_number
from vault.formats.problems import BadValue
from vault.formats.values import read_subject

_PLACES: Final = ("Organization", "Location", "HealthcareService")


@dataclass(slots=True)
class Directory:
    """What the references of a file mean, gathered in a first pass.

    Attributes:
        systems: identifier systems of patient numbers, the preferred first.
        has_patients: whether the file describes patients at all; if not, references
            name the server's ids, which then stand for the patients.
    """

    systems: Sequence[str] = ()
    has_patients: bool = False
    _located: set[str] = field(default_factory=set)
    _patients: dict[str, str | None] = field(default_factory=dict)
    _names: dict[str, tuple[str, str]] = field(default_factory=dict)
    _drugs: dict[str, Element] = field(default_factory=dict)

    def learn(self, resource: Element, full_url: str) -> None:
        """Take note of a resource that others may refer to."""
        kind, own_id = e.text(resource, "resourceType"), e.text(resource, "id")
        own_key = f"{kind}/{own_id}" if own_id else ""
        keys = {key for key in (full_url, own_key) if key}
        if "://" in full_url:
            self._located.add(own_key)
        if kind == "Patient":
            self.has_patients = True
            number = patient_number(resource, self.systems)
            for key in keys:
                known = self._patients.setdefault(key, number)
                if known != number:
                    self._patients[key] = None
        elif kind == "Medication":
            self._drugs.update(dict.fromkeys(keys, e.member(resource, "code")))
        elif name := _own_name(resource):
            self._names.update(dict.fromkeys(keys, (kind, name)))

    def subject(self, resource: Element, reference: Element) -> str:
        """Return the patient number that a reference means.

        Raises:
            BadValue: subject-missing, patient-unknown, patient-ambiguous,
                my-number-refused.
        """
        target = e.text(reference, "reference")
        if not target:
            identifier = e.member(reference, "identifier")
            return read_subject(identifier.get("value"))
        if target.startswith("#"):
            patient = _contained(resource, target)
            number = patient_number(patient, self.systems)
            if e.text(patient, "resourceType") != "Patient" or not number:
                raise BadValue("patient-unknown")
            return read_subject(number)
        known = self._look_up(target)
        if known is None:
            raise BadValue("patient-ambiguous")
        kind, _, own_id = _relative(target).rpartition("/")
        if not known and not self.has_patients and kind.endswith("Patient"):
            known = own_id
        if not known:
            raise BadValue("patient-unknown")
        return read_subject(known)

    def _look_up(self, target: str) -> str | None:
        """Return the number, an empty text if unknown, None if ambiguous."""
        if target in self._patients:
            return self._patients[target]
        relative = _relative(target)
        if "://" in target and relative in self._located:
            return ""  # the same id, but on another server
        return self._patients.get(relative, "")

    def names(
        self, resource: Element, references: Iterable[Element]
    ) -> tuple[str, str]:
        """Return the first organization's and the first person's name among these."""
        facility = person = ""
        for reference in references:
            kind, name = self._named(resource, reference)
            if kind in _PLACES:
                facility = facility or name
            else:
                person = person or name
        return facility, person

    def _named(self, resource: Element, reference: Element) -> tuple[str, str]:
        target = e.text(reference, "reference")
        if target.startswith("#"):
            inside = _contained(resource, target)
            found = (e.text(inside, "resourceType"), _own_name(inside))
        else:
            kind = e.text(reference, "type") or _relative(target).partition("/")[0]
            known = self._names.get(target) or self._names.get(_relative(target))
            found = known or (kind, "")
        return found[0], found[1] or e.text(reference, "display")

    def drug(self, resource: Element) -> Element:
        """Return the concept of a medication, whether given or referred to."""
        concept = e.member(resource, "medicationCodeableConcept")
        if concept:
            return concept
        reference = e.member(resource, "medicationReference")
        target = e.text(reference, "reference")
        if target.startswith("#"):
            return e.member(_contained(resource, target), "code")
        found = self._drugs.get(target) or self._drugs.get(_relative(target))
        return found or {"text": e.text(reference, "display")}


def _relative(reference: str) -> str:
    """Return `Type/id` of a reference of any form."""
    whole = reference.partition("/_history/")[0]
    return "/".join(whole.rsplit("/", 2)[-2:])


def _contained(resource: Element, target: str) -> Element:
    inside = e.members(resource, "contained")
    return next((c for c in inside if e.text(c, "id") == target[1:]), e.NOTHING)


def _own_name(resource: Element) -> str:
    plain = e.text(resource, "name")
    return plain or next(
        (shown for shown in map(full_name, e.members(resource, "name")) if shown), ""
    )
