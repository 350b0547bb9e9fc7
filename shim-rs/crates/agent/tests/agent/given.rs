// SPDX-License-Identifier: Apache-2.0
//! What a machine and its processes are given of their host: resource limits, and settings of the kernel.

use boxlite_protocol::plan::{Rlimit, Sysctl};

use crate::child::in_time;
use crate::host::{Guest, patience};
use crate::machine::request;
use crate::machine_test;
use crate::plans::plan;

machine_test!(a_process_may_have_more_than_the_kernel_gives_and_more_than_the_agent, guest, {
    let limit = |resource, soft, hard| Rlimit { resource, soft, hard, ..Rlimit::default() };
    let mut plan = plan(&["sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -Su; ulimit -Hl"]);
    plan.process.as_mut().unwrap().rlimits = vec![
        limit(libc::RLIMIT_NOFILE, 20_000, 1_000_000),
        limit(libc::RLIMIT_NPROC, u64::MAX, u64::MAX),
        limit(libc::RLIMIT_MEMLOCK, 1 << 26, 1 << 30),
    ];
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "20000\n1000000\nunlimited\n1048576\n", "{error}");
});

#[tokio::test]
#[ignore = "boots a machine"]
async fn settings_are_taken_as_far_as_the_kernel_takes_them_and_a_containers_own_win() {
    in_time(settings()).await;
}

async fn settings() {
    let guest = Guest::boot(&[]).await;
    let setting =
        |path: &str, value: &str| Sysctl { path: path.into(), value: value.into(), ..Sysctl::default() };
    let mut request = request();
    request.settings = vec![
        setting("vm/max_map_count", "70000"),
        setting("fs/nr_open", "2000000"),
        setting("net/core/somaxconn", "600"),
        setting("net/ipv4/tcp_rmem", "4096\t65536\t4194304"),
        setting("net/ipv4/ip_local_reserved_ports", ""),
        setting("net/ipv4/tcp_congestion_control", "none-such"),
        setting("kernel/no_such_setting", "1"),
        setting("vm/overcommit_memory", "7"),
    ];
    let answer = guest.client.configure(patience(), &request).await.unwrap();
    assert_eq!(answer.refused, ["write \"7\" to vm/overcommit_memory: invalid argument"]);
    let script = "cd /proc/sys; cat vm/max_map_count fs/nr_open net/core/somaxconn net/ipv4/tcp_rmem";
    let mut plan = plan(&["sh", "-c", script]);
    plan.sysctls = vec![setting("net/core/somaxconn", "777")];
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "70000\n2000000\n777\n4096\t65536\t4194304\n", "{error}");
    assert_eq!(guest.end().await, Some(0));
}
