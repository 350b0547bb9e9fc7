// SPDX-License-Identifier: Apache-2.0
//! What a process is and may do, as its own kernel files tell.

use std::collections::BTreeMap;

use boxlite_protocol::plan::Rlimit;

use crate::agent_test;
use crate::host::read_all;
use crate::plans::{plan, process};

fn status(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key, value.trim())).collect()
}

agent_test!(root_has_the_capabilities_of_the_plan, guest, {
    let (_, output, error) = guest.run(plan(&["cat", "/proc/self/status"])).await;
    assert_eq!(error, "");
    let status = status(&output);
    assert_eq!(status["CapBnd"], "00000000a80425fb");
    assert_eq!(status["CapEff"], "00000000a80425fb");
    assert_eq!(status["CapInh"], "0000000000000000");
    assert_eq!(status["CapAmb"], "0000000000000000");
    assert_eq!(status["NoNewPrivs"], "0");
    assert_eq!(status["Seccomp"], "0");
    assert_eq!((status["SigBlk"], status["SigIgn"]), ("0000000000000000", "0000000000000000"));
    assert_eq!(status["Groups"], "");
});

agent_test!(user_loses_all_but_ambient_capabilities, guest, {
    let mut plan = plan(&["cat", "/proc/self/status"]);
    let process = plan.process.as_mut().unwrap();
    (process.uid, process.gid, process.additional_gids) = (1000, 1001, vec![5, 6]);
    (process.cap_inheritable, process.cap_ambient) = (1 << 10, 1 << 10);
    (process.no_new_privileges, process.umask) = (true, Some(0o077));
    let (_, output, _) = guest.run(plan).await;
    let status = status(&output);
    assert_eq!(status["Uid"], "1000\t1000\t1000\t1000");
    assert_eq!(status["Gid"], "1001\t1001\t1001\t1001");
    assert_eq!(status["Groups"], "5 6");
    assert_eq!(status["CapEff"], "0000000000000400");
    assert_eq!(status["CapAmb"], "0000000000000400");
    assert_eq!(status["CapBnd"], "00000000a80425fb");
    assert_eq!((status["NoNewPrivs"], status["Umask"]), ("1", "0077"));
});

agent_test!(exec_has_its_own_identity, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let mut user = process(&["cat", "/proc/self/status"]);
    (user.uid, user.gid) = (33, 34);
    let io = guest.exec("c", "e", user).await.unwrap();
    let output = read_all(io.stdout).await;
    let status = status(&output);
    assert_eq!((status["Uid"], status["Gid"]), ("33\t33\t33\t33", "34\t34\t34\t34"));
    assert_eq!(status["CapEff"], "0000000000000000");
    assert_eq!(status["Umask"], "0022");
});

agent_test!(user_can_reopen_its_output, guest, {
    let mut plan = plan(&["sh", "-c", "echo again > /dev/fd/1"]);
    plan.process.as_mut().unwrap().uid = 1000;
    let (status, output, error) = guest.run(plan).await;
    assert_eq!((status, output.as_str(), error.as_str()), (0, "again\n", ""));
});

agent_test!(limits_are_the_plans, guest, {
    let mut plan =
        plan(&["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj; echo $(cat /proc/self/stat)"]);
    let process = plan.process.as_mut().unwrap();
    process.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 77, hard: 99, ..Rlimit::default() }];
    (process.oom_score_adj, process.nice) = (Some(123), Some(5));
    let (_, output, error) = guest.run(plan).await;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines[0], lines[1]), ("77", "123"), "{output} {error}");
    assert_eq!(lines[2].split(' ').nth(18), Some("5"), "{output}");
});

agent_test!(processes_may_open_what_the_agent_was_given_and_not_what_it_may, guest, {
    let line = |pid: &str| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned()
    };
    // Who started the agent has it from the same place.
    let given: Vec<String> = line("self").split_whitespace().map(str::to_owned).collect();
    let (_, output, error) = guest.run(plan(&["sh", "-c", "ulimit -Sn; ulimit -Hn"])).await;
    assert_eq!(output.lines().collect::<Vec<_>>(), [&given[3], &given[4]], "{error}");
    let of_agent = line(&guest.agent().id().to_string());
    let may: u64 = of_agent.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(may >= 16_384, "{of_agent}");
});

agent_test!(seccomp_filter_is_in_force, guest, {
    // if nr == __NR_mkdir or __NR_mkdirat: errno 13, else allow.
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&[jt, jf]);
        bytes.extend_from_slice(&k.to_ne_bytes());
        bytes
    };
    let filter: Vec<u8> = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 1, 0, u32::try_from(libc::SYS_mkdirat).unwrap()),
        instruction(0x15, 0, 1, 83),
        instruction(0x06, 0, 0, 0x0005_000d),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ]
    .concat();
    for no_new_privileges in [false, true] {
        let mut plan = plan(&["sh", "-c", "busybox mkdir /tmp/x; cat /proc/self/status"]);
        let process = plan.process.as_mut().unwrap();
        (process.seccomp, process.no_new_privileges) = (filter.clone(), no_new_privileges);
        let (_, output, error) = guest.run(plan).await;
        assert_eq!(status(&output)["Seccomp"], "2");
        assert!(error.contains("Permission denied"), "{error}");
    }
});

agent_test!(names_and_pids_are_its_own, guest, {
    let (_, output, _) = guest.run(plan(&["sh", "-c", "cat /proc/sys/kernel/hostname; echo $$"])).await;
    assert_eq!(output, "box\n1\n");
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(own, "box\n");
});
