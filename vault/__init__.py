# SPDX-License-Identifier: Apache-2.0
"""What one organization holds, how it comes in and how it goes out.

Builds on protocol alone: callers and receipts are handed in already verified.
Nothing here knows HTTP, accounts or routes.
"""
