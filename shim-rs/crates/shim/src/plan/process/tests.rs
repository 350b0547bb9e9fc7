// SPDX-License-Identifier: Apache-2.0
use oci_spec::runtime::{LinuxCapabilities, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Scheduler};

use super::*;

fn plain() -> Process {
    let mut process = Process::default();
    process
        .set_args(Some(vec!["true".into()]))
        .set_env(None)
        .set_capabilities(None)
        .set_rlimits(None)
        .set_no_new_privileges(None);
    process
}

fn limit(resource: u32, soft: u64) -> plan::Rlimit {
    plan::Rlimit { resource, soft, hard: 20_000, ..plan::Rlimit::default() }
}

fn container() -> Basis {
    let container = plan::Process {
        cap_bounding: 7,
        cap_effective: 3,
        no_new_privileges: true,
        rlimits: vec![limit(7, 1)],
        umask: Some(0o27),
        oom_score_adj: Some(100),
        seccomp: vec![1; 8],
        seccomp_flags: 4,
        ..plan::Process::default()
    };
    Basis { container, limits: vec![limit(6, 100), limit(7, 1024)] }
}

#[test]
fn exec_inherits_what_it_does_not_say() {
    let exec = compile_process(&plain(), &container()).unwrap();
    assert_eq!((exec.cap_bounding, exec.cap_effective), (7, 3));
    assert!(exec.no_new_privileges);
    assert_eq!(exec.rlimits, [limit(7, 1)]);
    assert_eq!((exec.umask, exec.oom_score_adj), (Some(0o27), Some(100)));
    assert_eq!((exec.seccomp.len(), exec.seccomp_flags), (8, 4));
}

#[test]
fn exec_that_says_so_differs_but_never_in_the_filter() {
    let mut process = plain();
    let mut none = LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    process
        .set_capabilities(Some(none))
        .set_no_new_privileges(Some(false))
        .set_rlimits(Some(vec![PosixRlimit::default(), limit_nofile()]));
    let exec = compile_process(&process, &container()).unwrap();
    assert_eq!(exec.cap_bounding, 0);
    assert!(!exec.no_new_privileges);
    let limits: Vec<_> = exec.rlimits.iter().map(|limit| (limit.resource, limit.soft)).collect();
    assert_eq!(limits, [(6, 100), (0, 0), (7, 0)], "what it does not name is not the container's");
    assert_eq!(exec.seccomp.len(), 8);
}

fn limit_nofile() -> PosixRlimit {
    PosixRlimitBuilder::default().typ(PosixRlimitType::RlimitNofile).build().unwrap()
}

#[test]
fn home_is_looked_up_only_when_the_environment_has_none() {
    let mut process = plain();
    assert!(compile(&process, &[], &mut Vec::new()).unwrap().home_from_passwd);
    process.set_env(Some(vec!["HOME=".into()]));
    assert!(compile(&process, &[], &mut Vec::new()).unwrap().home_from_passwd);
    process.set_env(Some(vec!["HOME=/x".into()]));
    assert!(!compile(&process, &[], &mut Vec::new()).unwrap().home_from_passwd);
}

#[test]
fn what_no_kernel_can_start_is_refused() {
    let mut process = plain();
    process.set_args(None);
    assert!(compile(&process, &[], &mut Vec::new()).is_err());
    process.set_args(Some(vec![String::new()]));
    assert!(compile(&process, &[], &mut Vec::new()).is_err());
    process.set_args(Some(vec!["a\0".into()]));
    assert!(compile(&process, &[], &mut Vec::new()).is_err());
    process = plain();
    process.set_cwd("relative".into());
    assert!(compile(&process, &[], &mut Vec::new()).is_err());
    process = plain();
    process.set_oom_score_adj(Some(2000));
    assert!(compile(&process, &[], &mut Vec::new()).is_err());
}

#[test]
fn other_schedulers_are_warned_about() {
    let mut process = plain();
    let mut scheduler = Scheduler::default();
    scheduler.set_nice(Some(5));
    process.set_scheduler(Some(scheduler.clone()));
    let mut warnings = Vec::new();
    assert_eq!(compile(&process, &[], &mut warnings).unwrap().nice, Some(5));
    assert!(warnings.is_empty());
    scheduler.set_policy(LinuxSchedulerPolicy::SchedFifo);
    process.set_scheduler(Some(scheduler));
    assert_eq!(compile(&process, &[], &mut warnings).unwrap().nice, None);
    assert_eq!(warnings.len(), 1);
}
