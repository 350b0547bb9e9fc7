# SPDX-License-Identifier: Apache-2.0
"""Paired measurements of BoxLite and runc; run with ``pytest tests/perf``."""
