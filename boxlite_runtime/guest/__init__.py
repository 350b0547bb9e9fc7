# SPDX-License-Identifier: Apache-2.0
"""Makes what a machine boots: the guest kernel and the initrd.

Owns: reading ``guest-kernel-config``, resolving and building a kernel from
it, packing the initrd. Does not own: installing the results, nor the agent,
which is built by cargo and only packed here.

Order of calls, kernel: ``catalogue.load`` -> ``fragments.merge`` ->
``source.unpack`` -> ``kconfig.resolve`` -> ``kernel.build``, which does all
of that and caches the result. What was resolved is compared with what the
tree records by ``record.compare``. Initrd: ``initrd.build``.
"""
