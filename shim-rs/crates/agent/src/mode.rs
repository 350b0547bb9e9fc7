// SPDX-License-Identifier: Apache-2.0
//! How the agent was started when it is not PID 1: `boxlite-agent --fd N --share DIR [--cgroup DIR]`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// A plain process on a host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// One end of a socket pair: the channel.
    pub(crate) channel: RawFd,
    /// Stands for the machine's share.
    pub(crate) share: PathBuf,
    /// A cgroup2 directory to put containers below; none: they stay where the agent is.
    pub(crate) cgroups: Option<PathBuf>,
}

/// The arguments make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("usage: boxlite-agent --fd N --share DIR [--cgroup DIR]")]
pub(crate) struct Usage;

impl Mode {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Usage> {
        let (mut channel, mut share, mut cgroups) = (None, None, None);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(Usage)?;
            match name.to_str() {
                Some("--fd") => channel = value.to_str().and_then(|number| number.parse().ok()),
                Some("--share") => share = Some(PathBuf::from(value)),
                Some("--cgroup") => cgroups = Some(PathBuf::from(value)),
                _ => return Err(Usage),
            }
        }
        Ok(Self {
            channel: channel.ok_or(Usage)?,
            share: share.ok_or(Usage)?,
            cgroups: cgroups.filter(|path| !path.as_os_str().is_empty()),
        })
    }
}

/// Writes a line to the console; there is nowhere to say that it did not work.
pub(crate) fn say(text: &str) {
    let mut line = text.to_owned();
    line.push('\n');
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Mode, Usage> {
        Mode::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn empty_cgroup_means_none() {
        let mode = parse(&["--fd", "3", "--share", "/s", "--cgroup", ""]).unwrap();
        assert_eq!(mode, Mode { channel: 3, share: "/s".into(), cgroups: None });
    }

    #[test]
    fn incomplete_or_unknown_arguments_are_refused() {
        assert_eq!(parse(&["--fd", "3"]), Err(Usage));
        assert_eq!(parse(&["--fd", "x", "--share", "/s"]), Err(Usage));
        assert_eq!(parse(&["--fd", "3", "--share"]), Err(Usage));
        assert_eq!(parse(&["--fd", "3", "--share", "/s", "--more", "1"]), Err(Usage));
    }
}
