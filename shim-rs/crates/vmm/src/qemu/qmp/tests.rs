// SPDX-License-Identifier: Apache-2.0
//! The client against a scripted monitor.

use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 8}}, "capabilities": []}}"#;

/// A client, and the other end of its socket.
fn monitor() -> (Qmp, BufReader<UnixStream>) {
    let (ours, theirs) = UnixStream::pair().expect("pair");
    let qmp = Qmp::over(ours.into_std().expect("std"), true).expect("client");
    (qmp, BufReader::new(theirs))
}

async fn say(monitor: &mut BufReader<UnixStream>, text: &str) {
    monitor.get_mut().write_all(format!("{text}\r\n").as_bytes()).await.expect("said");
}

async fn hear(monitor: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    monitor.read_line(&mut line).await.expect("heard");
    line.trim_end().to_owned()
}

/// Greets and grants the negotiation, after which the client asks whether the processors run.
async fn negotiate(monitor: &mut BufReader<UnixStream>) {
    negotiate_as(monitor, true).await;
}

async fn negotiate_as(monitor: &mut BufReader<UnixStream>, running: bool) {
    say(monitor, GREETING).await;
    assert_eq!(hear(monitor).await, r#"{"execute":"qmp_capabilities"}"#);
    say(monitor, r#"{"return": {}}"#).await;
    assert_eq!(hear(monitor).await, r#"{"execute":"query-status"}"#);
    say(monitor, &format!(r#"{{"return": {{"status": "any", "running": {running}}}}}"#)).await;
}

#[tokio::test]
async fn a_command_asked_before_the_greeting_waits_for_it() {
    let (qmp, mut qemu) = monitor();
    let asked = tokio::spawn(async move { qmp.execute("stop").await });
    negotiate(&mut qemu).await;
    assert_eq!(hear(&mut qemu).await, r#"{"execute":"stop"}"#);
    say(&mut qemu, r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#).await;
    say(&mut qemu, r#"{"return": {"answer": 42}}"#).await;
    assert_eq!(asked.await.expect("joined"), Ok(json!({"answer": 42})));
}

#[tokio::test]
async fn a_refusal_carries_the_words_without_control_characters() {
    let (qmp, mut qemu) = monitor();
    let asked = tokio::spawn(async move { qmp.execute("cont").await });
    negotiate(&mut qemu).await;
    hear(&mut qemu).await;
    say(&mut qemu, r#"{"error": {"class": "GenericError", "desc": "not \u001b[31mnow"}}"#).await;
    let refused = QmpError::Refused { reason: "not [31mnow".to_owned() };
    assert_eq!(asked.await.expect("joined"), Err(refused));
}

#[tokio::test]
async fn an_old_qemu_is_named_at_every_command() {
    let (qmp, mut qemu) = monitor();
    say(&mut qemu, &GREETING.replace(r#""minor": 2"#, r#""minor": 1"#)).await;
    let old = QmpError::TooOld { found: "8.1".to_owned(), minimum: "8.2" };
    assert_eq!(qmp.execute("stop").await, Err(old.clone()));
    assert_eq!(qmp.execute("cont").await, Err(old));
}

#[tokio::test]
async fn a_guest_shutdown_is_remembered_past_the_close() {
    let (qmp, mut qemu) = monitor();
    negotiate(&mut qemu).await;
    say(&mut qemu, r#"{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#).await;
    drop(qemu);
    assert_eq!(qmp.shutdown_reason().await.as_deref(), Some("guest-reset"));
    assert_eq!(qmp.execute("stop").await, Err(QmpError::Closed));
}

#[tokio::test]
async fn an_early_close_answers_commands_and_the_reason() {
    let (qmp, qemu) = monitor();
    drop(qemu);
    assert_eq!(qmp.shutdown_reason().await, None);
    assert_eq!(qmp.execute("stop").await, Err(QmpError::Closed));
}

#[tokio::test]
async fn an_endless_message_is_refused() {
    let (qmp, mut qemu) = monitor();
    let flood = tokio::spawn(async move { while qemu.get_mut().write_all(&[b'x'; 4096]).await.is_ok() {} });
    let refused = QmpError::Refused { reason: "message too long".to_owned() };
    assert_eq!(qmp.execute("stop").await, Err(refused));
    drop(qmp);
    flood.await.expect("the socket was closed");
}

#[tokio::test]
async fn nonsense_is_refused() {
    let (qmp, mut qemu) = monitor();
    say(&mut qemu, "hello").await;
    assert_eq!(qmp.execute("stop").await, Err(QmpError::Refused { reason: "not a message".to_owned() }));
}

#[tokio::test]
async fn whether_the_processors_run_is_asked_for_and_then_followed() {
    let (qmp, mut qemu) = monitor();
    let mut running = qmp.running();
    assert!(*running.borrow_and_update(), "what is said of a machine that has just been launched");
    negotiate_as(&mut qemu, false).await;
    running.wait_for(|running| !running).await.expect("the answer");
    say(&mut qemu, r#"{"event": "RESUME"}"#).await;
    running.wait_for(|running| *running).await.expect("an event");
    // By itself: an internal error, for one.
    say(&mut qemu, r#"{"event": "STOP"}"#).await;
    running.wait_for(|running| !running).await.expect("an event");
    drop(qemu);
    assert_eq!(qmp.shutdown_reason().await, None);
    assert!(!*running.borrow(), "it keeps its last");
}

#[tokio::test]
async fn a_command_that_fails_changes_nothing_of_what_events_told() {
    let (qmp, mut qemu) = monitor();
    let running = qmp.running();
    negotiate(&mut qemu).await;
    let asked = tokio::spawn(async move { (qmp.execute("stop").await, qmp.execute("cont").await) });
    hear(&mut qemu).await;
    say(&mut qemu, r#"{"event": "STOP"}"#).await;
    say(&mut qemu, r#"{"return": {}}"#).await;
    hear(&mut qemu).await;
    say(&mut qemu, r#"{"error": {"class": "GenericError", "desc": "no"}}"#).await;
    let (stopped, resumed) = asked.await.expect("joined");
    assert!(stopped.is_ok() && resumed.is_err());
    assert!(!*running.borrow());
}
