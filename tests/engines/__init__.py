# SPDX-License-Identifier: Apache-2.0
"""Container engines for tests, side by side and apart from the host's own.

``programs`` finds the binaries of a pair (dockerd with containerd), ``pair``
brings one up in a network namespace and a directory of its own, ``docker``
and ``ctr`` type commands at it, ``leftovers`` looks for what a container left
behind, ``images`` makes the test image, ``terminal`` drives a pty.
"""
