# SPDX-License-Identifier: Apache-2.0
"""A FHIR Patient: the number by which it is known, and its resident profile.

The number is looked for in this order: the identifier systems that the profile names,
the type MR (medical record number), the namespace of Japanese medical institutions, the
first identifier that is not an insurance number, and the resource's own id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from vault.formats.fhir import elements as e
from vault.formats.fhir.elements import Element
from vault.formats.problems import BadValue
from vault.formats.rows import Content
from vault.formats.screen import is_my_number

# 医療機関別の患者番号, followed by the institution's code of ten digits and a 1.
_JAPANESE_PATIENT: Final = "urn:oid:1.2.392.100495.20.3.51"
_INSURANCE: Final = ("insurance", "1.2.392.100495.20.3.61", "1.2.392.100495.20.3.62")
_SEX: Final = {"male": "1", "female": "2", "other": "9", "unknown": "0"}
_LAST: Final = 1000
_WRITING: Final = {"IDE": "", "SYL": "Kana", "ABC": "En"}


def patient_number(patient: Element, systems: Sequence[str]) -> str:
    """Return the number by which the organization knows the patient."""
    ranked = sorted(
        (_rank(identifier, systems), place, e.text(identifier, "value"))
        for place, identifier in enumerate(e.members(patient, "identifier"))
        if e.text(identifier, "value")
    )
    return ranked[0][2] if ranked and ranked[0][0] < _LAST else e.text(patient, "id")


def _rank(identifier: Element, systems: Sequence[str]) -> int:
    system = e.text(identifier, "system")
    if system in systems:
        return list(systems).index(system)
    types = {coding.code for coding in e.codings(e.member(identifier, "type"))}
    if "MR" in types:
        return 900
    if system.startswith(_JAPANESE_PATIENT):
        return 901
    insured = any(word in system.casefold() for word in _INSURANCE)
    return _LAST if insured or e.text(identifier, "use") == "old" else 902


def profile_of(patient: Element) -> Content:
    """Return the content of a `resident.profile` record.

    Raises:
        BadValue: my-number-refused, value-missing, date-invalid.
    """
    identifiers = [
        {"idType": e.text(i, "system") or "ID", "id": e.text(i, "value")}
        for i in e.members(patient, "identifier")
        if e.text(i, "value")
    ]
    if any(is_my_number(identifier["id"]) for identifier in identifiers):
        raise BadValue("my-number-refused")
    content: Content = {"idGroup": [dict(i) for i in identifiers]}
    for writing, name in _names(patient):
        family, given = e.text(name, "family"), " ".join(e.texts(name, "given"))
        shown = full_name(name)
        if not family and " " in shown.replace("\u3000", " "):
            family, _, given = shown.replace("\u3000", " ").partition(" ")
        content.setdefault(f"fullName{writing}", shown)
        content.setdefault(f"familyName{writing}", family)
        content.setdefault(f"givenName{writing}", given.strip())
    content["sex"] = _SEX.get(e.text(patient, "gender"))
    content["dateOfBirth"] = _full_day(patient, "birthDate")
    content["dateOfDeath"] = _full_day(patient, "deceasedDateTime")
    content.update(_address(patient))
    content.update(_contacts(patient))
    if not content.get("fullName"):
        raise BadValue("value-missing")
    return e.without_gaps(content)


def _names(patient: Element) -> Iterator[tuple[str, Element]]:
    """Yield each name with the suffix of its writing: kanji, kana or Latin letters."""
    for name in e.members(patient, "name"):
        if e.text(name, "use") in ("old", "maiden", "nickname"):
            continue
        marks = [e.text(x, "valueCode") for x in e.members(name, "extension")]
        yield next((_WRITING[m] for m in marks if m in _WRITING), ""), name


def _full_day(patient: Element, name: str) -> str | None:
    value = e.day_or_part(e.text(patient, name))
    return value if value and len(value) == 10 else None


def _address(patient: Element) -> Content:
    address = next(iter(e.members(patient, "address")), e.NOTHING)
    lines = "".join(e.texts(address, "line"))
    joined = e.text(address, "state") + e.text(address, "city") + lines
    digits = e.text(address, "postalCode").replace("-", "")
    return {
        "fullAddress": e.text(address, "text") or joined,
        "prefecture": e.text(address, "state"),
        "cityAndCounty": e.text(address, "city"),
        "postalCode": digits if len(digits) == 7 and digits.isdigit() else None,
    }


def _contacts(patient: Element) -> Content:
    found: Content = {}
    for point in e.members(patient, "telecom"):
        if e.text(point, "system") == "phone":
            found.setdefault("contactPointPhoneNumber", e.text(point, "value"))
        elif e.text(point, "system") == "email":
            found.setdefault("contactPointEmailAddress", e.text(point, "value"))
    return found


def full_name(name: Element) -> str:
    """Return a HumanName as one text."""
    parts = [e.text(name, "family"), *e.texts(name, "given")]
    return e.text(name, "text") or " ".join(part for part in parts if part)
