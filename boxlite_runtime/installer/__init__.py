# SPDX-License-Identifier: Apache-2.0
"""Puts the runtime on a host and takes it away again.

Owns: every file the installation touches outside the build cache. Does not
own: building (the guest room, cargo) and packages (install/quickstart).

Call order: ``observe`` reads the host -> ``plan`` decides, purely ->
``apply`` acts and writes each change to the ``journal`` before making it.
``uninstall`` plans from the journal and acts the same way.
"""
