# SPDX-License-Identifier: Apache-2.0
"""A whole federation in one process: production nodes, virtual time, seeded faults."""
