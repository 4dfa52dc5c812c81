# SPDX-License-Identifier: Apache-2.0
"""The main job as a story: three cities, real processes, one resident's data."""
