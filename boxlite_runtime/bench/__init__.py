# SPDX-License-Identifier: Apache-2.0
"""Measures a runtime beside another one through a real engine.

Owns: what is measured, in what order, and what is told about it. Does not
own: how an engine is spoken to (``conformance.engines``), nor whether a number
is good.

Call order: ``session.opened`` -> one of ``start``, ``executing``, ``streams``, ``memory``,
``files`` -> ``record`` -> ``text``, ``page`` or ``picture``. Pure and tested
without an engine: ``sample``, ``rounds``, ``phases``, ``record`` and the three
that render.
"""
