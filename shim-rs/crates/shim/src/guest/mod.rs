// SPDX-License-Identifier: Apache-2.0
//! The guest as the shim sees it: the agent's calls with deadlines, and everything it says checked before use.
//!
//! Owns the hello, the multiplexed channel and the control stream ([`control`]; [`calls`] is what is asked on it). Does
//! not own the machine: when that ends, the channel does ([`Guest::channel_ended`]) and every call fails, and the task
//! finds out why. A call that fails is that call's affair: only the channel tells whether the guest is still there.
//!
//! Rules for what comes from a guest (it may be hostile): ids in answers are never used to find anything, texts lose
//! their control characters and are bounded, codes are passed on only from a short list, every call but `wait`, `stats`
//! and `next_event` has a deadline.

mod calls;
mod control;

use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::{Duration, Instant};

use boxlite_linux::text::one_line;
use boxlite_protocol::hello;
use boxlite_protocol::mux::{self, Incoming, Opener};
use boxlite_protocol::stream::StreamName;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

use self::calls::SLOW;
pub use self::calls::first_call;
use self::control::Control;
use crate::error::TaskError;

/// Longest text of the guest's that is passed on, in characters.
const MAX_TEXT: usize = 1024;

/// Whether the guest still has to introduce itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// It boots, and says hello when it is up.
    Expected,
    /// It was restored, and said it before it was saved.
    SaidBefore,
}

/// A connected guest.
#[derive(Clone)]
pub struct Guest {
    control: Control,
    opener: Opener,
    ended: watch::Receiver<bool>,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guest").finish_non_exhaustive()
    }
}

impl Guest {
    /// Waits for the guest to be up and opens the control stream. Also gives the streams the guest opens.
    ///
    /// # Errors
    /// A channel that ends, or something at its end that is not our agent.
    pub async fn connect(channel: StdUnixStream, greeting: Greeting) -> Result<(Self, Incoming), TaskError> {
        channel.set_nonblocking(true).map_err(TaskError::channel("preparing the channel"))?;
        let mut channel =
            UnixStream::from_std(channel).map_err(TaskError::channel("preparing the channel"))?;
        if greeting == Greeting::Expected {
            let mut bytes = [0; hello::LENGTH];
            channel
                .read_exact(&mut bytes)
                .await
                .map_err(TaskError::channel("waiting for the guest's agent"))?;
            hello::check(bytes).map_err(TaskError::channel("greeting the guest's agent"))?;
        }
        let (opener, incoming, driver) = mux::client(channel);
        let (ends, ended) = watch::channel(false);
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "channel ended");
            }
            ends.send_replace(true);
        });
        let control = opener
            .open(&StreamName::control())
            .await
            .map_err(TaskError::channel("opening the control stream"))?;
        Ok((Self { control: Control::over(control), opener, ended }, incoming))
    }

    /// Resolves when there is nobody at the other end any more; at once if that is so.
    pub async fn channel_ended(&self) {
        // An error is the driver gone with its runtime.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Connects to a guest that goes on from a template, and has it answer once: its clock stood still with it, so that
    /// is set. `within`: how long it may take, not counted what `waited` says others kept it from running.
    ///
    /// # Errors
    /// No answer in time, or none that is one.
    pub async fn awake(
        channel: StdUnixStream,
        within: Duration,
        waited: impl Fn() -> Duration,
    ) -> Result<(Self, Incoming), TaskError> {
        let (guest, incoming) = Self::connect(channel, Greeting::SaidBefore).await?;
        let (began, before) = (Instant::now(), waited());
        let mut answer = std::pin::pin!(guest.set_clock_within(SLOW));
        let mut left = within;
        while !left.is_zero() {
            if let Ok(answered) = tokio::time::timeout(left, &mut answer).await {
                return answered.map(|()| (guest.clone(), incoming));
            }
            // On a host with more machines than processors, most of the time is others'.
            left = (within + waited().saturating_sub(before)).saturating_sub(began.elapsed());
        }
        Err(TaskError::MachineGone {
            why: format!("the guest did not answer within {} ms of its restore", within.as_millis()),
            console: String::new(),
        })
    }

    /// For the stdio of a process.
    #[must_use]
    pub fn opener(&self) -> &Opener {
        &self.opener
    }
}

/// Text of a guest's that may go into a log, an error or a terminal.
pub(crate) fn clean(text: &str) -> String {
    one_line(text, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_cannot_drive_a_terminal() {
        assert_eq!(clean("exec \u{1b}[2Jfoo\r\n"), "exec  [2Jfoo  ");
        assert_eq!(clean(&"x".repeat(5000)).len(), MAX_TEXT);
    }

    #[tokio::test]
    async fn a_guest_that_never_wakes_is_given_up_in_time() {
        let (near, _far) = StdUnixStream::pair().unwrap();
        let began = std::time::Instant::now();
        let error = Guest::awake(near, Duration::from_millis(50), || Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 50 ms"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_guest_that_is_kept_from_running_has_longer() {
        let (near, _far) = StdUnixStream::pair().unwrap();
        let began = std::time::Instant::now();
        // Nine tenths of the time belong to others.
        let waited = || began.elapsed() * 9 / 10;
        Guest::awake(near, Duration::from_millis(50), waited).await.unwrap_err();
        assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn noise_instead_of_hello_is_an_error() {
        use std::io::Write;
        let (near, mut far) = StdUnixStream::pair().unwrap();
        far.write_all(b"Linux version 6.12").unwrap();
        let error = Guest::connect(near, Greeting::Expected).await.unwrap_err();
        assert!(crate::error::chain(&error).contains("not an agent's hello"), "{error}");
    }
}
