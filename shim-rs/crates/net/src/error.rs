// SPDX-License-Identifier: Apache-2.0
//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// Why a step of the host's network setup was not done.
#[derive(Debug, Error)]
pub enum NetError {
    /// The host has no TUN/TAP device. The operator loads the module.
    #[error("/dev/net/tun is missing or has no driver; load it with `modprobe tun`")]
    NoTun {
        /// What opening it gave.
        #[source]
        source: io::Error,
    },
    /// The caller lacks CAP_NET_ADMIN or CAP_SYS_ADMIN over the namespace.
    #[error("no permission to {what}; the shim needs CAP_NET_ADMIN and CAP_SYS_ADMIN")]
    Permission {
        /// The step, as an infinitive.
        what: &'static str,
        /// EPERM or EACCES.
        #[source]
        source: io::Error,
    },
    /// The path names no network namespace (any more).
    #[error("{} is no network namespace", path.display())]
    NamespaceMissing {
        /// The path given.
        path: PathBuf,
        /// What opening it gave.
        #[source]
        source: io::Error,
    },
    /// The host's kernel lacks something that cannot be done without.
    #[error("the host's kernel cannot {what}")]
    Unsupported {
        /// The step, as an infinitive, with the kernel's option where one is known.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A link was there and is gone: the engine took it away meanwhile.
    #[error("network link {link} is gone")]
    LinkGone {
        /// The link's name.
        link: String,
    },
    /// The kernel's answer could not be read.
    #[error("the kernel's answer on {what} is malformed")]
    Malformed {
        /// What was asked for.
        what: &'static str,
    },
    /// Anything else: nothing to be done but to report it.
    #[error("could not {what}")]
    System {
        /// The step, as an infinitive.
        what: &'static str,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
}

impl NetError {
    /// Sorts the kernel's answer to the step `what` (an infinitive).
    pub(crate) fn from_errno(what: &'static str, errno: Errno) -> Self {
        Self::from_io(what, errno.into())
    }

    /// As [`NetError::from_errno`], for errors of the standard library.
    pub(crate) fn from_io(what: &'static str, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::PERM | Errno::ACCESS) => Self::Permission { what, source },
            Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => {
                Self::Unsupported { what, source }
            }
            _ => Self::System { what, source },
        }
    }
}
