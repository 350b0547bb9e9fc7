// SPDX-License-Identifier: Apache-2.0
//! How a child tells the agent how far it got: a pipe that exec closes.
//!
//! A frame is its kind (1 byte) and a length (4 bytes, little endian), then so many bytes. READY carries the number
//! of the terminal's descriptor in the child, or nothing; FAULT whose fault it is and the message. End of file
//! means the program has been executed, or the child ended.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use crate::descriptor::{Watched, read_some};
use crate::error::{AgentError, Blame, Fault, Trying};
use crate::sys;

const READY: u8 = 1;
const FAULT: u8 = 2;
/// Longer messages are cut: PIPE_BUF, so that one write is one frame.
const MAX_FRAME: usize = 4096;
const HEAD: usize = 5;

/// The child's end.
#[derive(Debug)]
pub(crate) struct Reporter(OwnedFd);

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Reports(Watched);

/// What a child said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// All is made; the terminal is this descriptor of the child.
    Ready(Option<RawFd>),
    /// The program was executed, or the child ended without a word.
    Closed,
}

/// Both ends.
pub(crate) fn channel() -> Result<(Reporter, Reports), Fault> {
    let what = || "pipe".to_owned();
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).trying(what)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK).trying(what)?;
    Ok((Reporter(writer), Reports(sys::watched(reader).trying(what)?)))
}

impl Reporter {
    /// All is made. An agent that does not listen any more is noticed at the release.
    pub(crate) fn ready(&mut self, terminal: Option<&OwnedFd>) {
        let body = terminal.map_or_else(Vec::new, |fd| fd.as_raw_fd().to_le_bytes().to_vec());
        self.send(READY, &body);
    }

    /// It did not work out. The child ends next.
    pub(crate) fn fault(&mut self, fault: &Fault) {
        let mut body = vec![fault.blame as u8];
        body.extend_from_slice(fault.message.as_bytes());
        self.send(FAULT, &body);
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let body = &body[..body.len().min(MAX_FRAME - HEAD)];
        let mut frame = vec![kind];
        frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
        frame.extend_from_slice(body);
        let _ = rustix::io::write(&self.0, &frame);
    }
}

impl Reports {
    /// The child's next word.
    pub(crate) async fn next(&mut self) -> Result<Report, AgentError> {
        let mut head = [0; HEAD];
        if !self.fill(&mut head).await? {
            return Ok(Report::Closed);
        }
        let [kind, length @ ..] = head;
        let mut body = vec![0; (u32::from_le_bytes(length) as usize).min(MAX_FRAME)];
        self.fill(&mut body).await?;
        Ok(decode(kind, &body)?)
    }

    async fn fill(&self, buffer: &mut [u8]) -> Result<bool, Fault> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read_some(&self.0, &mut buffer[filled..]).await.trying(|| "read report".to_owned())? {
                0 => return Ok(false),
                count => filled += count,
            }
        }
        Ok(true)
    }
}

fn decode(kind: u8, body: &[u8]) -> Result<Report, Fault> {
    match (kind, body) {
        (READY, []) => Ok(Report::Ready(None)),
        (READY, &[a, b, c, d]) => Ok(Report::Ready(Some(i32::from_le_bytes([a, b, c, d])))),
        (FAULT, [blame, message @ ..]) => {
            let blame = if *blame == Blame::Program as u8 { Blame::Program } else { Blame::System };
            Err(Fault { blame, message: String::from_utf8_lossy(message).into_owned() })
        }
        _ => Err(Fault::refused("the child's report makes no sense".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_arrive_in_order_and_end() {
        let (mut reporter, mut reports) = channel().unwrap();
        let fault = Fault::program("exec: \"x\": permission denied".to_owned());
        reporter.ready(None);
        reporter.fault(&fault);
        drop(reporter);
        assert_eq!(reports.next().await.unwrap(), Report::Ready(None));
        assert_eq!(reports.next().await.unwrap_err().to_string(), fault.message);
        assert_eq!(reports.next().await.unwrap(), Report::Closed);
    }

    #[tokio::test]
    async fn long_message_is_cut() {
        let (mut reporter, mut reports) = channel().unwrap();
        reporter.fault(&Fault::program("x".repeat(10_000)));
        let AgentError::Fault(fault) = reports.next().await.unwrap_err() else { panic!("no fault") };
        assert_eq!(fault.message.len(), MAX_FRAME - HEAD - 1);
        assert_eq!(fault.blame, Blame::Program);
    }
}
