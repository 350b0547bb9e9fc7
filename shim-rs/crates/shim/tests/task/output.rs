// SPDX-License-Identifier: Apache-2.0
//! What processes write: all of it, apart, and nobody held up by a reader who does not read.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;

use crate::fake_machine::containerd::Shim;
use crate::fake_machine::fifo::{Fifos, Reader};
use crate::fake_machine::process::Exec;
use crate::fake_machine::soon;

const MIB: usize = 1 << 20;
/// What is told as late as this has waited for something that does not come.
const LATE: Duration = Duration::from_secs(5);

/// Bytes without a pattern a lost or doubled piece would fit.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Compares without printing megabytes.
fn assert_same(what: &str, found: &[u8], expected: &[u8]) {
    let first = found.iter().zip(expected).position(|(one, other)| one != other);
    assert_eq!((found.len(), first), (expected.len(), None), "{what}: length, first difference");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdout_and_stderr_come_apart_and_byte_for_byte() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("cat /out & cat /err >&2; wait");
    let (out, err) = (noise(5 * MIB, 1), noise(5 * MIB, 2));
    std::fs::write(bundle.inside("/out"), &out).unwrap();
    std::fs::write(bundle.inside("/err"), &err).unwrap();
    let mut container = shim.run(&bundle).await;
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert_same("stdout", &container.stdout().await, &out);
    assert_same("stderr", &container.stderr().await, &err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_before_the_end_is_whole_when_delete_comes_right_after_wait() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["cat", "/burst"]);
    let burst = noise(8 * MIB, 3);
    std::fs::write(bundle.inside("/burst"), &burst).unwrap();
    let mut container = shim.run(&bundle).await;
    container.wait().await;
    container.delete().await;
    assert_same("stdout", &container.stdout().await, &burst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_output_of_an_exec_is_whole_when_delete_comes_right_after_wait() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let burst = noise(2 * MIB, 4);
    std::fs::write(bundle.inside("/burst"), &burst).unwrap();
    let container = shim.run(&bundle).await;
    let mut exec = container.exec("e1", &Exec::args(&["cat", "/burst"])).await;
    assert_eq!(exec.wait().await, 0);
    exec.delete().await;
    assert_same("stdout", &exec.stdout().await, &burst);
    assert_same("stderr", &exec.stderr().await, b"");
}

/// A shell that writes `/burst` and ends, while a child of its waits for `/go` and then writes.
fn leaving_a_child() -> Exec {
    Exec::shell("(until [ -e /go ]; do sleep 0.02; done; echo late; echo late err >&2) & cat /burst; exit 3")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_s_end_is_told_with_its_output_and_its_children_are_heard_after_it() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let burst = noise(2 * MIB, 7);
    std::fs::write(bundle.inside("/burst"), &burst).unwrap();
    let container = shim.run(&bundle).await;
    let mut exec = container.exec("e1", &leaving_a_child()).await;
    let began = Instant::now();
    assert_eq!(exec.wait().await, 3);
    shim.events.wait_for("exit e1 3").await;
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    std::fs::write(bundle.inside("/go"), "").unwrap();
    // The output ends by itself, as engines wait for before they delete.
    assert_same("stdout", &exec.stdout().await, &[&burst[..], b"late\n"].concat());
    assert_eq!(exec.stderr().await, b"late err\n");
    assert_eq!(exec.delete().await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exec_is_deleted_and_a_container_ends_whatever_the_children_of_execs_hold_open() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    std::fs::write(bundle.inside("/burst"), "now\n").unwrap();
    let container = shim.run(&bundle).await;
    let mut deleted = container.exec("e1", &leaving_a_child()).await;
    let mut kept = container.exec("e2", &leaving_a_child()).await;
    let began = Instant::now();
    assert_eq!((deleted.wait().await, kept.wait().await), (3, 3));
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    assert_eq!(deleted.delete().await, 3);
    assert_eq!(deleted.stdout().await, b"now\n");
    let began = Instant::now();
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    assert_eq!(kept.stdout().await, b"now\n");
    container.delete().await;
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_floods_holds_up_neither_the_end_of_its_exec_nor_others() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let flood = container.exec("flood", &Exec::shell("yes & exit 3").nobody_reads()).await;
    assert_eq!(flood.wait().await, 3);
    let mut other = container.exec("other", &Exec::args(&["echo", "heard"])).await;
    assert_eq!(other.wait().await, 0);
    assert_eq!(other.stdout().await, b"heard\n");
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_stops_nothing_else() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["yes"]).nobody_reads()).await;
    let flood = container.exec("flood", &Exec::args(&["yes"]).nobody_reads()).await;
    let mut other = container.exec("other", &Exec::args(&["echo", "heard"])).await;
    assert_eq!(other.wait().await, 0);
    other.delete().await;
    assert_eq!(other.stdout().await, b"heard\n");
    flood.kill(9).await;
    assert_eq!(flood.wait().await, 137);
    assert_eq!(container.status().await, Status::RUNNING);
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_has_it_before_the_end_is_told() {
    const FIFO: usize = 64 << 10;
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["head", "-c", "2097152", "/dev/zero"]).nobody_reads();
    let container = shim.create(&bundle).await;
    let path = container.fifos.stdout.clone().unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    std::thread::spawn(move || {
        let mut fifo = std::fs::File::open(path).unwrap();
        let mut buffer = vec![0; FIFO];
        while let Ok(length @ 1..) = fifo.read(&mut buffer) {
            count.fetch_add(length, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    container.start().await;
    assert_eq!(container.wait().await, 0);
    // containerd's own client closes its end now: all but what is in the FIFO is its already.
    let read = read.load(Ordering::SeqCst);
    assert!(read + 2 * FIFO >= 2 * MIB, "{read} bytes were read");
    container.delete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_wrote_is_there_for_a_reader_who_comes_late() {
    let shim = Shim::start().await;
    // A pipe here and a FIFO there hold 128 KiB: of what is more, some waits in the shim, which keeps the FIFO open for
    // it. With less a FIFO that nobody ever opened would be closed, and what is in it gone.
    let script = "cat /out & pos() { sed -n 's/^pos:[^0-9]*//p' /proc/$!/fdinfo/3 2>/dev/null; }; \
                  until [ 0$(pos) -ge 262144 ] && grep -q pipe /proc/$!/wchan; do :; done; touch /stands; wait";
    let bundle = shim.bundle("c").shell(script).nobody_reads();
    let out = noise(4 * MIB, 6);
    std::fs::write(bundle.inside("/out"), &out).unwrap();
    let container = shim.run(&bundle).await;
    soon("a writer who has to wait", async {
        while !bundle.inside("/stands").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    let reader = Reader::start(container.fifos.stdout.as_ref().unwrap());
    container.delete().await;
    let heard = reader.all().await;
    // The pipe was full, and so may have been the stream's window and the shim's budget: nothing between two of them
    // is missing.
    assert!(heard.len() >= 64 << 10, "{} bytes", heard.len());
    assert_same("stdout", &heard, &out[..heard.len()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_output_nobody_reads_is_held_and_not_lost() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("cat /out; echo written >/done").nobody_reads();
    let out = noise(MIB, 5);
    std::fs::write(bundle.inside("/out"), &out).unwrap();
    let container = shim.run(&bundle).await;
    // The first to read comes late and finds all of it.
    let mut exec = container.exec("e1", &Exec::args(&["ls", "/"])).await;
    exec.wait().await;
    exec.delete().await;
    let listing = String::from_utf8(exec.stdout().await).unwrap();
    assert!(!listing.contains("done"), "1 MiB went where nobody reads");
    let reader = Reader::start(container.fifos.stdout.as_ref().unwrap());
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert_same("stdout", &reader.all().await, &out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_execs_at_once_each_have_their_own_output() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let container = &container;
    let run = async |number: u32| {
        let exec = Exec::shell(&format!("echo out {number}; echo err {number} >&2; exit {number}"));
        let mut process = container.exec(&format!("e{number}"), &exec).await;
        assert_eq!(process.wait().await, number);
        process.delete().await;
        assert_eq!(process.stdout().await, format!("out {number}\n").as_bytes());
        assert_eq!(process.stderr().await, format!("err {number}\n").as_bytes());
    };
    let mut running = Vec::new();
    for number in 0..20 {
        running.push(Box::pin(run(number)));
    }
    all(running).await;
}

/// Runs all of them at once, on this task.
async fn all<F: Future<Output = ()> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| std::pin::Pin::new(future).poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_goes_to_a_file_by_uri() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("echo out; echo err >&2");
    bundle.write_config();
    let (out, err) = (bundle.directory.join("logs/out"), bundle.directory.join("logs/err"));
    let mut request = shim.request(&bundle, &Fifos::default());
    request.stdout = format!("file://{}", out.display());
    request.stderr = format!("file://{}", err.display());
    let container = shim.create_from(&bundle, request).await;
    container.start().await;
    container.wait().await;
    container.delete().await;
    assert_eq!(std::fs::read_to_string(out).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(err).unwrap(), "err\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_goes_to_a_log_program_by_uri() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("echo out; echo err >&2");
    bundle.write_config();
    let log = bundle.directory.join("log of it");
    let program = bundle.directory.join("logger");
    // containerd's contract: 3 is stdout, 4 stderr, 5 is closed when ready.
    let script = "#!/bin/sh\nexec 5>&-\nexec >\"$2\"\necho $1 $CONTAINER_NAMESPACE $CONTAINER_ID\ncat <&3\ncat <&4\necho end\n";
    std::fs::write(&program, script).unwrap();
    executable(&program);
    let mut request = shim.request(&bundle, &Fifos::default());
    let uri = format!("binary://{}?to={}", program.display(), log.display()).replace(' ', "%20");
    (request.stdout, request.stderr) = (uri.clone(), uri);
    let container = shim.create_from(&bundle, request).await;
    container.start().await;
    container.wait().await;
    container.delete().await;
    // The program is not waited for: it ends when its pipes do.
    soon("the log", async {
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with("end\n")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "to test c\nout\nerr\nend\n");
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
