# SPDX-License-Identifier: Apache-2.0
"""Proves that a runtime does what the reference does, through real engines.

Owns: the cases, doing them under both runtimes, judging and reporting. Does
not own: bringing engines up; they must run.

::

    cases/*.yaml -> schema -> selection -> session -> runner -> engines/*
                                              |          |
                                           images      names
                                              |
                                           compare -> report

A case says what a person types and what must come of it. It is named by its
contract and knows nothing of runtimes. Cases are first held to the reference,
so that a case which is wrong, or a host that cannot, is told from a runtime
that differs. Whatever a run makes carries its label and is removed by it.
"""
