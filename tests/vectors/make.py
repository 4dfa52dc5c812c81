# SPDX-License-Identifier: Apache-2.0
"""Write the test vectors of this folder anew: `python -m tests.vectors.make`.

Each file is one JSON object: `about` (what an implementation has to do), and `cases`
with a name, the input, and either the expected `result` or the slug of the `failure`
(of the refusal, for decisions). Keys are fixed test keys, never to be used elsewhere.
HPKE and ECDSA draw chance, so their cases differ from run to run; all others do not.
The expectations are written here by hand; `tests/protocol/test_vectors.py` holds the
implementation to the files as they are committed.
"""

import json
from pathlib import Path

from tests.vectors.agreements import agreements
from tests.vectors.cases import KEYS_ABOUT
from tests.vectors.consents import consents, pseudonyms, status_lists
from tests.vectors.decisions import decisions
from tests.vectors.transport import envelopes, hops, location_tokens

HERE = Path(__file__).parent

FILES = {
    "envelope": (
        "Take the envelope apart, verify the routing header with the sender's only key,"
        " check that the header names that sender, hold the body to size and digest,"
        " and open it (label `machikura body 1`)." + KEYS_ABOUT,
        envelopes,
    ),
    "consent": (
        "Verify the consent with the home node's only key, then open the ticket as the"
        " party and hold it to the consent." + KEYS_ABOUT,
        consents,
    ),
    "decision": (
        "Decide the case; the whole input counts as verified. The first case is given"
        " in full, the others where they differ from it. `failure` is the reason of the"
        " refusal; `result` is what may leave, and which clause cut what.",
        decisions,
    ),
    "hops": ("Read the chain of hop records and check it.", hops),
    "status_list": ("Read the state at the index: 0 valid to 3.", status_lists),
    "location_token": (
        "Open the token as the city's broker, at the time given." + KEYS_ABOUT,
        location_tokens,
    ),
    "agreement": (
        "Read the file, verify each signature, tell who signed and whether the text is"
        " in force at the time given.",
        agreements,
    ),
    "pseudonym": ("Derive handle, locator and commitment.", pseudonyms),
}


def main() -> None:
    """Write all files."""
    for name, (about, cases) in FILES.items():
        whole = {"about": about, "cases": list(cases())}
        text = json.dumps(whole, ensure_ascii=False, indent=1)
        (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
