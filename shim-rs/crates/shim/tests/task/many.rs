// SPDX-License-Identifier: Apache-2.0
//! As many execs at once as there may be, and one more.

use std::io::Write;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use containerd_shim_protos::ttrpc::Code;
use futures::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fake_machine::containerd::{Shim, refusal};
use crate::fake_machine::process::{Exec, Process};

/// Streams of a machine, without the control stream and the two of the container's own.
const STREAMS: usize = 3072 - 1 - 2;

/// Descriptors this process needs for both sides of so many.
const OPEN_FILES: u64 = 16_384;

fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|hard| hard >= OPEN_FILES), "{OPEN_FILES} open files are needed");
    setrlimit(Resource::Nofile, Rlimit { current: Some(OPEN_FILES), ..limit }).unwrap();
}

/// Starts `cat` so many times, each with three streams, some at a time.
async fn cats(container: &Process, count: usize) -> Vec<Process> {
    let cat = Exec { stdin: true, ..Exec::args(&["cat"]).nobody_reads() };
    let start = async |number: usize| container.exec(&format!("e{number}"), &cat).await;
    futures::stream::iter((0..count).map(start)).buffered(32).collect().await
}

#[tokio::test]
async fn a_thousand_execs_with_three_streams_run_at_once_and_one_too_many_is_refused_at_once() {
    allow_open_files();
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let running = cats(&container, STREAMS / 3).await;
    assert!(running.len() >= 1000);

    let cat = Exec { stdin: true, ..Exec::args(&["cat"]).nobody_reads() };
    let over = container.add("over", &cat).await;
    let began = Instant::now();
    let (code, message) = refusal(over.try_start().await);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(code, Code::RESOURCE_EXHAUSTED);
    assert!(message.contains("3072 streams"), "{message}");
    over.delete().await;

    // The others have lost nothing.
    assert_eq!(container.status().await, Status::RUNNING);
    for exec in &running {
        let mut output = exec.listen();
        let words = format!("of {}\n", exec.exec);
        exec.attach().write_all(words.as_bytes()).unwrap();
        assert_eq!(output.until("\n").await, words);
    }
    // One ends, and there is room for another.
    running[0].close_stdin().await;
    assert_eq!(running[0].wait().await, 0);
    let another = container.add("another", &Exec::args(&["echo", "heard"]).nobody_reads()).await;
    let mut output = another.listen();
    another.start().await;
    output.until("heard\n").await;
    assert_eq!(another.wait().await, 0);
    container.remove().await;
}
