# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface for an organization's applications, one module a resource."""
