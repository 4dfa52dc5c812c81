# SPDX-License-Identifier: Apache-2.0
"""The database's revisions, run by Alembic through `node.schema`."""
