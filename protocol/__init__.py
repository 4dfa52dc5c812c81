# SPDX-License-Identifier: Apache-2.0
"""What every party must agree on: the specification in code.

Values in, values out. Nothing here performs I/O, reads a clock or draws hidden
randomness; nothing here imports another package of this project.
"""
