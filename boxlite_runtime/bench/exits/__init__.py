# SPDX-License-Identifier: Apache-2.0
"""Counts how often a guest leaves its processor for the host, by reason.

An exit costs about the same on every host, so a count tells what a time
cannot: it is the same on a busy host, and shows where the time goes.

Owns: the kernel's histograms of KVM's events, whose machine an entry belongs
to, what is counted, and how that is told. Does not own: the record (``record``)
and the engine (``session``).

Call order: ``trace.tracing`` -> ``works.measured`` -> ``told``. Pure and
tested without a kernel: ``reasons``, ``histogram``, ``counts``, ``told``.
"""
