# SPDX-License-Identifier: Apache-2.0
"""The running program: settings, HTTP, pages, connectors, registers, operations.

The only package that may import all others; imported by tests and deploy only.
"""
