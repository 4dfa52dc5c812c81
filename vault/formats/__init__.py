# SPDX-License-Identifier: Apache-2.0
"""Importers: files of clinics, shops and city offices become rows of content.

Pure parsing with bounded memory: nothing here stores, decides or knows a consent. The
way in is `vault.formats.reader.read_rows`.
"""
