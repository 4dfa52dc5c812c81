# SPDX-License-Identifier: Apache-2.0
"""Pairwise pseudonyms: one person, a name for each party, no way to join them."""

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from protocol.canonical import b64url, unb64url
from protocol.ids import CityId, NodeId
from protocol.pseudonym import blind_record_serial, commitment, handle, locator
from tests.protocol.cities import seed
from tests.protocol.published import wycheproof

KEY = seed("resident", 32)
CLINIC, MARKET = NodeId("hoshino/clinic"), NodeId("hoshino/market")


def test_handle_is_hmac_sha256_as_specified() -> None:
    """Another implementation must come to the same name."""
    message = b"machikura handle 1\x00hoshino/clinic"
    expected = b64url(hmac.new(KEY, message, hashlib.sha256).digest())
    assert handle(KEY, CLINIC) == expected


def test_resident_has_another_name_everywhere() -> None:
    """Two organizations cannot tell that they speak of the same person."""
    names = {
        handle(KEY, CLINIC),
        handle(KEY, MARKET),
        locator(KEY, CityId("hoshino")),
        locator(KEY, CityId("minato")),
    }
    assert len(names) == 4


def test_two_residents_have_different_names_in_one_place() -> None:
    """The resident key decides."""
    assert handle(KEY, CLINIC) != handle(seed("other", 32), CLINIC)


@given(st.binary(min_size=32, max_size=32))
def test_name_is_a_sha256_in_base64url(key: bytes) -> None:
    """It fits the grammar of `Handle` and `Locator`."""
    assert len(unb64url(handle(key, CLINIC), length=32)) == 32
    assert len(unb64url(locator(key, CityId("hoshino")), length=32)) == 32


def test_commitment_binds_party_person_and_salt() -> None:
    """A change in any of them opens another commitment."""
    salt, name = seed("salt", 16), handle(KEY, CLINIC)
    one = commitment(salt, CLINIC, name)
    assert one == commitment(salt, CLINIC, name)
    assert one != commitment(seed("pepper", 16), CLINIC, name)
    assert one != commitment(salt, MARKET, name)
    assert one != commitment(salt, CLINIC, handle(KEY, MARKET))


def test_commitment_is_salted_sha256_as_specified() -> None:
    """Another implementation must come to the same commitment."""
    salt, name = seed("salt", 16), handle(KEY, CLINIC)
    text = salt + b"machikura commitment 1\x00hoshino/clinic\x00" + name.encode()
    assert commitment(salt, CLINIC, name) == b64url(hashlib.sha256(text).digest())


def test_record_has_another_serial_in_each_consent() -> None:
    """Requirement 7: a hidden record cannot be recognized in another consent."""
    record = "urn:machikura:hoshino:clinic:1"
    one = blind_record_serial(seed("consent 1", 32), record)
    other = blind_record_serial(seed("consent 2", 32), record)
    assert len(one) == 16
    assert one != other
    assert one != blind_record_serial(seed("consent 1", 32), record + "2")


def test_published_hmac_cases_agree() -> None:
    """Wycheproof, for the function that all pseudonyms are made with."""
    for group, case in wycheproof("hmac_sha256_test"):
        digest = hmac.digest(
            bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]), "sha256"
        )
        tag = digest[: group["tagSize"] // 8]
        agrees = hmac.compare_digest(tag, bytes.fromhex(case["tag"]))
        assert agrees == (case["result"] == "valid"), case["tcId"]
