// SPDX-License-Identifier: Apache-2.0

use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

/// A bundle; hooks run in it.
struct Bundle {
    directory: TempDir,
    annotations: HashMap<String, String>,
}

impl Bundle {
    fn new() -> Self {
        let annotations = HashMap::from([("a.b/c".to_owned(), "d".to_owned())]);
        Self { directory: TempDir::new().unwrap(), annotations }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn state(&self) -> State<'_> {
        State::new("c1", "creating", 4711, self.path(), &self.annotations)
    }

    async fn run(&self, hook: &Hook) -> Result<(), HookError> {
        run(std::slice::from_ref(hook), &self.state()).await
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }
}

/// A hook that is a few lines of shell. Not a file of its own: a test that forks meanwhile would hold it open ("text busy").
fn shell(script: &str) -> Hook {
    let mut hook = Hook::default();
    hook.set_path("/bin/sh".into());
    hook.set_args(Some(["sh", "-c", script].map(str::to_owned).to_vec()));
    hook
}

#[tokio::test]
async fn a_hook_is_told_the_state_and_runs_in_the_bundle() {
    let bundle = Bundle::new();
    bundle.run(&shell("/bin/cat > told; pwd > where")).await.unwrap();
    let told: serde_json::Value = serde_json::from_str(&bundle.read("told")).unwrap();
    let expected = serde_json::json!({
        "ociVersion": "1.2.0", "id": "c1", "status": "creating", "pid": 4711,
        "bundle": bundle.path(), "annotations": {"a.b/c": "d"},
    });
    assert_eq!(told, expected);
    assert_eq!(bundle.read("where").trim(), bundle.path().to_str().unwrap());
}

#[tokio::test]
async fn a_hook_has_the_given_arguments_and_environment_and_no_other() {
    let bundle = Bundle::new();
    let mut hook = shell("");
    let script = r#"echo "$0 $1" > arguments; /usr/bin/env > environment"#;
    hook.set_args(Some(["sh", "-c", script, "zero", "one"].map(str::to_owned).to_vec()));
    hook.set_env(Some(vec!["GREETING=a=b c".into()]));
    bundle.run(&hook).await.unwrap();
    assert_eq!(bundle.read("arguments"), "zero one\n");
    let environment = bundle.read("environment");
    assert!(environment.lines().any(|line| line == "GREETING=a=b c"), "{environment}");
    assert!(!environment.contains("CARGO") && !environment.contains("HOME="), "{environment}");
}

#[tokio::test]
async fn a_failing_hook_is_quoted_on_one_printable_line_and_ends_the_row() {
    let bundle = Bundle::new();
    let failing = shell(r"printf 'no\n\033[31m bridge\a' >&2; exit 3");
    let next = shell("/bin/touch next");
    let error = run(&[failing.clone(), next.clone()], &bundle.state()).await.unwrap_err();
    assert!(error.to_string().ends_with("exited with 3: no [31m bridge"), "{error}");
    assert!(!bundle.path().join("next").exists());

    assert_eq!(run_each(&[failing, next], &bundle.state()).await.len(), 1);
    assert!(bundle.path().join("next").exists());
}

#[tokio::test]
async fn only_the_end_of_a_long_complaint_is_quoted() {
    let bundle = Bundle::new();
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo line$i >&2; i=$((i+1)); done; echo the reason >&2; exit 1";
    let error = bundle.run(&shell(script)).await.unwrap_err().to_string();
    assert!(error.ends_with("the reason") && error.len() < 2300, "{} bytes", error.len());
}

#[tokio::test]
async fn a_hook_that_takes_too_long_is_killed_with_what_it_started() {
    let bundle = Bundle::new();
    let mut hook = shell("echo waiting >&2; /bin/sleep 60 & echo $! > child; wait");
    hook.set_timeout(Some(1));
    let before = Instant::now();
    let error = bundle.run(&hook).await.unwrap_err();
    assert!(matches!(&error, HookError::TimedOut { stderr, .. } if stderr == "waiting"), "{error}");
    assert!(before.elapsed() < Duration::from_secs(20));
    let stat = format!("/proc/{}/stat", bundle.read("child").trim());
    // Gone, or dead and not reaped yet by its new parent. The signal was sent; dying takes the kernel a moment.
    let dead =
        || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "));
    while !dead() {
        assert!(before.elapsed() < Duration::from_secs(20), "what the hook started lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hook_that_leaves_a_child_with_its_output_open_is_not_waited_for() {
    let bundle = Bundle::new();
    let before = Instant::now();
    bundle.run(&shell("/bin/sleep 20 & echo $! > child")).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(10));
    let child = bundle.read("child").trim().parse().ok().and_then(Pid::from_raw).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_hook_that_cannot_be_run_is_named() {
    let bundle = Bundle::new();
    let mut hook = Hook::default();
    hook.set_path("/nonexistent/hook".into());
    let error = bundle.run(&hook).await.unwrap_err();
    assert!(
        matches!(&error, HookError::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert_eq!(error.to_string(), "could not start hook /nonexistent/hook");

    hook.set_path("relative/hook".into());
    assert!(matches!(bundle.run(&hook).await, Err(HookError::Malformed { .. })));
    let mut timeless = shell("");
    timeless.set_timeout(Some(0));
    assert!(matches!(bundle.run(&timeless).await, Err(HookError::Malformed { .. })));
}
