# SPDX-License-Identifier: Apache-2.0
"""Real commands at real engines: under runc first, then under BoxLite.

Each test states one contract of the engine's user. ``both`` types the same
at the two runtimes and compares what came back; see ``conftest``.
"""
