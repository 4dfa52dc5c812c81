# SPDX-License-Identifier: Apache-2.0
"""FHIR R4 files: bundles and bulk data of clinics and pharmacies become rows.

Follows HL7 FHIR R4 (4.0.1), JP Core and the codes of the specific health checkups
(特定健診, JLAC10). Resources are taken as they come: whatever member is missing or
of the wrong kind costs that resource alone.
"""
