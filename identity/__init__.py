# SPDX-License-Identifier: Apache-2.0
"""Who speaks and what they may do: keys, membership, accounts, sign-in.

Builds on protocol alone. Nothing here knows HTTP, a vault or a route.
"""
