# SPDX-License-Identifier: Apache-2.0
"""What a node does: one module for each role's side of the exchanges."""
