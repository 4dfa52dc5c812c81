# SPDX-License-Identifier: Apache-2.0
"""Four cities, all connected both ways, aliases spoofed: each party is asked once."""

from __future__ import annotations

import pytest

from node.simulate import mesh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> mesh.Counted:
    """Return what was counted in one run."""
    return mesh.count(tmp_path_factory.mktemp("mesh"))


def test_each_party_is_asked_once_and_nothing_goes_round(
    counted: mesh.Counted,
) -> None:
    """Directories and holders; a broker carries what is for it, and no more."""
    assert counted.asked == dict.fromkeys(
        [*(f"{city}/broker" for city in mesh.CITIES), *mesh.HOLDERS], 1
    )
    assert counted.answered == counted.parties == 8
    assert counted.loops == 0
    # The own broker carries all of it, each other one what is for its own city.
    own, *others = (counted.carried[f"{city}/broker"] for city in mesh.CITIES)
    assert (own, others) == (8, [2, 2, 2])


def test_city_cannot_take_a_neighbor_s_place_by_its_name(
    counted: mesh.Counted,
) -> None:
    """The attack: a card that names another city's broker at one's own address."""
    assert counted.misled == 0
    assert set(counted.links.values()) == {3}
