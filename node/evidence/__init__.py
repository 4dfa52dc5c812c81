# SPDX-License-Identifier: Apache-2.0
"""Evidence of what was carried: batches with each neighbor, routes, alarms."""
