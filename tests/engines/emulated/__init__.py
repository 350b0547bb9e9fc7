# SPDX-License-Identifier: Apache-2.0
"""A host with working KVM, emulated: QEMU's TCG emulates AMD's SVM.

A stock Debian kernel with its own ``kvm_amd`` runs in it, and machines of ours under
that. Its files are this host's, read only, with a layer in memory over them: what is
installed here is installed there. It has pure cgroup v2 and no network.

``kernel`` gets Debian's kernel, ``modules`` and ``initrd`` make what it boots with,
``fit`` tells why this host cannot have one, ``qemu`` is its command line, ``ending``
tells how it ended, ``host`` boots it with a job, ``suite`` runs the system tests in
it. To run anything there: ``python -m tests.engines.emulated -- COMMAND...``

``init.sh`` and ``start.sh`` run in it, before and after its files are there.
"""
