# SPDX-License-Identifier: Apache-2.0
"""The first schema: every table as the packages declare it.

Until the first release this revision follows the declarations. From then on it stays as
it is, a copy of them, and every change is a revision of its own.
"""

from __future__ import annotations

from alembic import op

from node.schema import METADATA

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    for metadata in METADATA:
        metadata.create_all(op.get_bind(), checkfirst=False)
