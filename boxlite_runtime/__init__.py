# SPDX-License-Identifier: Apache-2.0
"""The host-side tool around the BoxLite runtime.

Owns: installing the runtime, building the guest, diagnosing a host, proving
conformance, measuring. Does not own: anything that runs while a container
runs; that is the Rust workspace in ``shim-rs``.
"""

__version__ = "0.1.0"
