// SPDX-License-Identifier: Apache-2.0
//! `containerd-shim-boxlite-v1`. See [`boxlite_shim::bootstrap`] for how containerd calls it.

use std::process::ExitCode;

fn main() -> ExitCode {
    boxlite_shim::bootstrap::run()
}
