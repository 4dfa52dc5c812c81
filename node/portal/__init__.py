# SPDX-License-Identifier: Apache-2.0
"""Pages for residents, made on the server; nothing on them needs a script."""
