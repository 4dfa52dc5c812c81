# SPDX-License-Identifier: Apache-2.0
"""How envelopes, locations and catalogs travel between nodes and cities.

Builds on protocol and identity. It cannot import vault, so routing code is unable to
open a record: the privacy promise written as an import rule.
"""
