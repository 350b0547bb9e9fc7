// SPDX-License-Identifier: Apache-2.0
//! The accelerator: what `accel = "auto"` is on this host.
//!
//! | file | what it owns |
//! |---|---|
//! | [`facts`] | what the host has of KVM |
//! | [`ask`] | booting a guest, to see |
//! | [`judge`], [`said`] | the verdict and its words, pure; what others said |
//! | [`answer`] | accel.json, and what it holds for |
//!
//! ```text
//!  settle ─▶ the remembered answer ─┬─ holds: used
//!                                   └─ stale, or none ─▶ lock ─▶ read again ─▶ ask ─▶ remember
//! ```
//! A start pays for the question once after the host's kernel, processor, KVM or QEMU has changed; of many at once, one asks
//! and the others wait for it. [`crate::bootstrap`] has the same for `boxlite install` and `boxlite doctor`.

pub(crate) mod answer;
pub(crate) mod ask;
mod facts;
mod judge;
mod said;

use std::io;
use std::path::Path;

use boxlite_vmm::Accel;
use tokio::runtime::Handle;

use self::answer::{Answer, Host, Remembered};
use self::ask::Found;
use self::judge::Verdict;
use crate::config::{AccelChoice, Config};
use crate::error::{TaskError, chain};
use crate::own_thread;

/// Where the answer is.
pub(crate) const REMEMBERED: &str = "/var/lib/boxlite/accel.json";

/// Puts an accelerator in the place of `auto`. What cannot be found out is TCG, which runs everywhere, with a warning.
pub(crate) async fn settle(config: &mut Config) {
    if config.machine.accel != AccelChoice::Auto {
        return;
    }
    let accel = match remembered(config) {
        Ok(Remembered::Fresh(answer)) => answer.verdict.accel,
        Ok(Remembered::Stale(_, why) | Remembered::None(why)) => {
            tracing::info!(why, "the accelerator is asked for");
            asked_on_a_thread(config.clone()).await
        }
        Err(error) => {
            tracing::warn!(%error, "the host cannot be examined, using tcg");
            Accel::Tcg
        }
    };
    config.machine.accel = AccelChoice::of(accel);
}

fn remembered(config: &Config) -> io::Result<Remembered> {
    answer::read(Path::new(REMEMBERED), &Host::observe(&config.paths.qemu)?)
}

/// On a thread that ends, for the machine's namespace is its own. Whatever else belongs to the machine, its children's
/// reaping too, is the runtime's that goes on.
async fn asked_on_a_thread(config: Config) -> Accel {
    let runtime = Handle::current();
    let answer = own_thread::run("accelerator", move || asked(&config, &runtime)).await;
    match answer.map_err(TaskError::host("asking on a thread")).and_then(|answer| answer) {
        Ok(answer) => answer.verdict.accel,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the accelerator was not found out, using tcg");
            Accel::Tcg
        }
    }
}

fn asked(config: &Config, runtime: &Handle) -> Result<Answer, TaskError> {
    let host = Host::observe(&config.paths.qemu).map_err(TaskError::host("examining the host"))?;
    settled(Path::new(REMEMBERED), &host, || match runtime.block_on(ask::ask(config, false, None))? {
        Found::Answer(verdict) => Ok(verdict),
        Found::Nowhere(why) => Err(TaskError::host("booting a guest")(why)),
    })
}

/// The answer for `host`: the remembered one if it holds by the time nobody else asks, else that of `ask`, which is
/// remembered.
fn settled(
    path: &Path,
    host: &Host,
    ask: impl FnOnce() -> Result<Verdict, TaskError>,
) -> Result<Answer, TaskError> {
    let lock = answer::lock(path).map_err(TaskError::host("locking the answer"))?;
    if let Ok(Remembered::Fresh(answer)) = answer::read(path, host) {
        return Ok(answer);
    }
    let answer = Answer::new(ask()?, host.clone());
    let Verdict { accel, kind, message: why, hint, detail } = &answer.verdict;
    match accel {
        Accel::Kvm => tracing::info!(%kind, why, hint, "machines run under kvm"),
        Accel::Tcg => tracing::warn!(%kind, why, hint, "machines run under tcg"),
    }
    tracing::debug!(detail, "what came of a boot under kvm");
    if let Err(error) = answer::write(path, &answer, &lock) {
        tracing::warn!(path = %path.display(), %error, "the answer is not remembered, each start will ask");
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::answer::tests::{host, verdict};
    use super::*;

    #[test]
    fn an_answer_that_holds_is_not_asked_for_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state/accel.json");
        let first = settled(&path, &host(), || Ok(verdict(Accel::Kvm))).unwrap();
        assert_eq!(settled(&path, &host(), || unreachable!("it holds")).unwrap(), first);
    }

    #[test]
    fn a_stale_answer_is_asked_for_again_and_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("accel.json");
        let lock = answer::lock(&path).unwrap();
        let other: Host =
            serde_json::from_str(r#"{"kernel":"5.10","processor":"p","qemu":"q","kvm":"k"}"#).unwrap();
        answer::write(&path, &Answer::new(verdict(Accel::Kvm), other), &lock).unwrap();
        drop(lock);
        let now = settled(&path, &host(), || Ok(verdict(Accel::Tcg))).unwrap();
        assert_eq!(now.verdict.accel, Accel::Tcg);
        assert_eq!(answer::read(&path, &host()).unwrap(), Remembered::Fresh(now));
    }

    #[test]
    fn what_could_not_be_asked_is_not_remembered() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("accel.json");
        let failed = || Err(TaskError::host("making a network namespace")(io::Error::other("full")));
        settled(&path, &host(), failed).unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn of_many_at_once_one_asks() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("accel.json");
        let times = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let ask = || {
                        times.fetch_add(1, Ordering::Relaxed);
                        Ok(verdict(Accel::Kvm))
                    };
                    assert_eq!(settled(&path, &host(), ask).unwrap().verdict.accel, Accel::Kvm);
                });
            }
        });
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }
}
