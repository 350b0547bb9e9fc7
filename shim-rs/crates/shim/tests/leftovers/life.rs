// SPDX-License-Identifier: Apache-2.0
//! What a task has on the host while it lives, and that all of it goes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::census::{Census, alone, cgroup_parent, moment, namespace_is_gone, with_cgroup};
use crate::fake_machine::containerd::Shim;
use crate::fake_machine::fifo::Fifos;
use crate::fake_machine::process::{Exec, Process};
use crate::fake_machine::soon;

fn namespace(container: &Process, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{}/ns/{kind}", container.pid)).unwrap()
}

fn cgroups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

#[test]
fn a_task_that_ends_leaves_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let bundle = with_cgroup(shim.bundle("c").nobody_reads().args(&["sleep", "1000"]));
        let before = Census::take(&shim);
        let container = shim.run(&bundle).await;
        let exec = container.exec("e1", &Exec::args(&["sleep", "1000"])).await;
        let namespaces = ["net", "mnt"].map(|kind| (kind, namespace(&container, kind)));
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        assert_ne!(namespaces[0].1, ours, "the machine is in a network of its own");
        container.kill(9).await;
        container.wait().await;
        exec.wait().await;
        container.delete().await;
        for (kind, link) in &namespaces {
            namespace_is_gone(kind, link).await;
        }
        before.is_the_same_again(&shim).await;
    });
}

#[test]
fn a_machine_is_born_in_the_containers_cgroup_and_leaves_it_empty() {
    alone(async {
        let shim = Shim::start().await;
        let before = Census::take(&shim);
        let container =
            shim.run(&with_cgroup(shim.bundle("c").nobody_reads().args(&["sleep", "1000"]))).await;
        let path = format!(":{}/c", cgroup_parent());
        let outside: Vec<_> = cgroups_of(container.pid)
            .lines()
            .filter(|line| !line.ends_with(&path))
            .map(str::to_owned)
            .collect();
        assert_eq!(outside, Vec::<String>::new(), "every hierarchy accounts for the machine");
        shim.host.signal_machine(Signal::KILL);
        container.wait().await;
        container.delete().await;
        // Gone before Delete answers: an engine may start the next one at once.
        assert!(Census::take(&shim).has_no_cgroup());
        before.is_the_same_again(&shim).await;
    });
}

#[test]
fn a_log_program_is_born_where_the_shim_was_and_outlives_the_cgroup() {
    alone(async {
        let shim = Shim::start().await;
        let before = Census::take(&shim);
        let origin = cgroups_of(std::process::id());
        let bundle = with_cgroup(shim.bundle("c").args(&["sleep", "1000"]));
        bundle.write_config();
        let at = |name: &str| bundle.directory.join(name);
        // It goes on, with children of its own, until the test lets it or is over.
        let line = "exec 5>&-; cat /proc/self/cgroup >\"$2\"; cat <&3; \
                    while [ -e \"$2\" ] && ! [ -e \"$4\" ]; do sleep 0.01; done";
        fs::write(at("logger"), format!("#!/bin/sh\n{line}\necho end >>\"$2\"\n")).unwrap();
        fs::set_permissions(at("logger"), PermissionsExt::from_mode(0o755)).unwrap();
        let [program, to, until] =
            ["logger", "log", "over"].map(|name| at(name).to_str().unwrap().to_owned());
        let mut request = shim.request(&bundle, &Fifos::default());
        request.stdout = format!("binary://{program}?to={to}&until={until}");
        request.stderr = String::new();
        let container = shim.create_from(&bundle, request).await;
        container.start().await;
        let log = || fs::read_to_string(at("log")).unwrap_or_default();
        soon("the log program's word", async {
            while log().lines().count() < origin.lines().count() {
                moment().await;
            }
        })
        .await;
        assert_eq!(log(), origin);
        container.kill(9).await;
        container.wait().await;
        container.delete().await;
        assert!(Census::take(&shim).has_no_cgroup());
        fs::write(at("over"), "").unwrap();
        soon("the log program's end", async {
            while !log().ends_with("end\n") {
                moment().await;
            }
        })
        .await;
        before.is_the_same_again(&shim).await;
    });
}

#[test]
fn a_task_that_was_never_started_leaves_nothing() {
    alone(async {
        let shim = Shim::start().await;
        let before = Census::take(&shim);
        let container = shim.create(&with_cgroup(shim.bundle("c").nobody_reads())).await;
        container.delete().await;
        before.is_the_same_again(&shim).await;
    });
}

#[test]
fn lives_and_execs_one_after_the_other_cost_no_descriptor() {
    alone(async {
        let shim = Shim::start().await;
        let bundle = shim.bundle("c").nobody_reads().args(&["sleep", "1000"]);
        let round = async || {
            let container = shim.run(&bundle).await;
            for id in ["e1", "e2", "e3"] {
                let mut exec = container.exec(id, &Exec::args(&["echo", "hello"])).await;
                assert_eq!(exec.wait().await, 0);
                exec.delete().await;
                assert_eq!(exec.stdout().await, b"hello\n");
            }
            container.kill(9).await;
            container.wait().await;
            container.delete().await;
        };
        round().await;
        shim.host.forget_the_dead();
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = descriptors();
        for _ in 0..3 {
            round().await;
        }
        let settle = async {
            loop {
                shim.host.forget_the_dead();
                if descriptors() <= before {
                    return;
                }
                moment().await;
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(5), settle).await;
        assert!(settled.is_ok(), "{before} descriptors became {}", descriptors());
    });
}
