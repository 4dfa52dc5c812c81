# SPDX-License-Identifier: Apache-2.0
"""Runs the revisions on the connection that `node.schema` hands in.

Batch mode, since SQLite changes a table by making a new one. The transaction belongs to
`node.schema`, so that all revisions succeed together or none does.
"""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
