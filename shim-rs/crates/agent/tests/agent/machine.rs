// SPDX-License-Identifier: Apache-2.0
//! What only a machine shows: its own clock, names, network, cgroups and memory.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use boxlite_protocol::agent::{ConfigureRequest, Empty, SetClockRequest, UpdateRequest};
use boxlite_protocol::network::{Address, Interface, Network, Route};
use boxlite_protocol::plan::mount::Kind;
use boxlite_protocol::plan::{Cgroup, CgroupFile};
use boxlite_protocol::ttrpc::Code;

use tokio::io::AsyncReadExt;

use crate::child::in_time;
use crate::host::{Guest, container, patience, read_all, read_until, refusal, send};
use crate::plans::{filesystem, plan, process};
use crate::{machine_test, plans};

/// The NIC that stands for eth0, and the one for nothing.
const DEVICE: u8 = 7;
const SPARE: u8 = 3;

pub(crate) fn request() -> ConfigureRequest {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    ConfigureRequest {
        realtime_ns: i64::try_from(now).unwrap(),
        entropy: vec![7; 64],
        hostname: "machine".into(),
        share_tag: "boxlite".into(),
        share_path: "/run/boxlite/share".into(),
        ..Default::default()
    }
}

/// Makes the machine its own, without a network.
pub(crate) async fn configure(guest: &Guest) {
    guest.client.configure(patience(), &request()).await.unwrap();
}

fn file(name: &str, value: &str) -> CgroupFile {
    CgroupFile { name: name.into(), value: value.into(), ..Default::default() }
}

fn limited(files: &[(&str, &str)]) -> Cgroup {
    Cgroup { files: files.iter().map(|(name, value)| file(name, value)).collect(), ..Default::default() }
}

machine_test!(container_runs_in_a_machine, guest, {
    let begun = Instant::now();
    let (status, output, error) = guest.run(plan(&["sh", "-c", "echo out; echo err >&2; exit 3"])).await;
    eprintln!("first container: {:?}", begun.elapsed());
    assert_eq!((status, output.as_str(), error.as_str()), (3, "out\n", "err\n"));
    let begun = Instant::now();
    let (_, output, error) = guest.run(plan(&["sh", "-c", "date +%s; cat /proc/1/comm"])).await;
    assert_eq!(error, "");
    eprintln!("second container: {:?}", begun.elapsed());
    let clock: u64 = output.lines().next().unwrap().parse().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(clock) < 5, "{clock}");
});

machine_test!(clock_is_set_again_after_it_stood_still, guest, {
    let request = SetClockRequest { realtime_ns: 1_000_000_000 * 1_000_000_000, ..Default::default() };
    guest.client.set_clock(patience(), &request).await.unwrap();
    let (_, output, error) = guest.run(plan(&["date", "+%s"])).await;
    let clock: u64 = output.trim().parse().unwrap();
    assert!(clock.abs_diff(1_000_000_000) < 5, "{clock} {error}");
});

machine_test!(a_machine_ends_with_its_host_while_it_has_much_to_say, guest, {
    let mut io = guest.launch(plan(&["sh", "-c", "cat /dev/zero & cat /dev/zero >&2"])).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..16 {
        io.stdout.as_mut().unwrap().read_exact(&mut buffer).await.unwrap();
        io.stderr.as_mut().unwrap().read_exact(&mut buffer).await.unwrap();
    }
    // Both ends of the channel are busy when the macro ends it.
});

machine_test!(writes_are_with_the_host_when_the_end_is_told, guest, {
    let script =
        "dd if=/dev/urandom of=/data bs=64k count=40 conv=notrunc 2>/dev/null; cat /data | head -c 1 > /one";
    guest.run(plan(&["sh", "-c", script])).await;
    assert_eq!(std::fs::metadata(guest.rootfs().join("data")).unwrap().len(), 40 << 16);
    assert_eq!(std::fs::metadata(guest.rootfs().join("one")).unwrap().len(), 1);
});

machine_test!(cgroup_is_the_containers, guest, {
    let mut plan =
        plan(&["sh", "-c", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max; cat /proc/self/cgroup"]);
    let mut mount = filesystem("cgroup", "/sys/fs/cgroup", libc::MS_RDONLY, "");
    mount.kind = Kind::CGROUP.into();
    plan.mounts.push(mount);
    plan.cgroup = Some(limited(&[("memory.max", "67108864"), ("pids.max", "33")])).into();
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "33\n67108864\n0::/\n", "{error}");
});

machine_test!(an_exec_joins_a_container_that_has_divided_its_cgroup, guest, {
    let script = "cd /sys/fs/cgroup; busybox mkdir inner; echo 1 > inner/cgroup.procs; \
                  echo +pids > cgroup.subtree_control; echo divided; sleep 60";
    let mut plan = plan(&["sh", "-c", script]);
    let mut mount = filesystem("cgroup", "/sys/fs/cgroup", 0, "");
    mount.kind = Kind::CGROUP.into();
    plan.mounts.push(mount);
    let mut io = guest.launch(plan).await.unwrap();
    read_until(&mut io.stdout, "divided").await;
    let exec = guest.exec("c", "e", process(&["cat", "/proc/self/cgroup"])).await.unwrap();
    assert_eq!(read_all(exec.stdout).await, "0::/inner\n");
    assert_eq!(guest.wait("c", "e").await.exit_status, 0);
    // What is below ends with the container too.
    let sleeper = guest.exec("c", "e2", process(&["sleep", "60"])).await.unwrap();
    guest.signal("c", "", 9, true).await.unwrap();
    assert_eq!(guest.wait("c", "e2").await.exit_status, 137);
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    drop(sleeper);
    guest.remove("c").await;
});

machine_test!(update_stats_and_freezing, guest, {
    let mut sleeper = plan(&["sleep", "60"]);
    sleeper.cgroup = Some(limited(&[("pids.max", "33")])).into();
    let _io = guest.launch(sleeper).await.unwrap();
    let update = async |name: &str, value: &str| {
        let request =
            UpdateRequest { container_id: "c".into(), files: vec![file(name, value)], ..Default::default() };
        guest.client.update(patience(), &request).await
    };
    update("pids.max", "44").await.unwrap();
    let (_, message) = refusal(update("none.max", "1").await);
    assert_eq!(message, "write \"1\" to none.max: no such file or directory");
    let stats = guest.client.stats(patience(), &container("c")).await.unwrap().files;
    let value =
        |name: &str| stats.iter().find(|file| file.name == name).map(|file| file.value.trim().to_owned());
    assert_eq!(value("pids.max").as_deref(), Some("44"));
    assert!(value("memory.current").is_some() && value("cpu.stat").is_some());
    update("cgroup.freeze", "1").await.unwrap();
    assert_eq!(refusal(guest.exec("c", "e", process(&["true"])).await).0, Code::FAILED_PRECONDITION);
    update("cgroup.freeze", "0").await.unwrap();
    guest.exec("c", "f", process(&["true"])).await.unwrap();
    guest.signal("c", "", 9, true).await.unwrap();
    assert_eq!(guest.wait("c", "").await.exit_status, 137);
    guest.remove("c").await;
});

machine_test!(more_execs_are_open_at_once_than_the_kernel_gives_files_for, guest, {
    let _io = guest.launch(plan(&["sleep", "1000"])).await.unwrap();
    let mut execs = Vec::new();
    for number in 0..400 {
        execs.push(guest.exec("c", &format!("e{number}"), process(&["cat"])).await.unwrap());
    }
    for (number, exec) in execs.iter_mut().enumerate().step_by(37) {
        send(&mut exec.stdin, &format!("{number}\n")).await;
        read_until(&mut exec.stdout, &format!("{number}\n")).await;
    }
    // A process has what the kernel gave.
    let limits = guest.exec("c", "limits", process(&["sh", "-c", "ulimit -Sn; ulimit -Hn"])).await.unwrap();
    assert_eq!(read_all(limits.stdout).await, "1024\n4096\n");
});

machine_test!(kill_for_want_of_memory_is_told, guest, {
    let mut hungry = plan(&["sh", "-c", "tail /dev/zero"]);
    hungry.cgroup = Some(limited(&[("memory.max", "16777216"), ("memory.oom.group", "1")])).into();
    let no_event = Empty::new();
    let (launched, event) =
        tokio::join!(guest.launch(hungry), guest.client.next_event(patience(), &no_event));
    launched.unwrap();
    assert_eq!(event.unwrap().oom_container_id, "c");
    let end = guest.wait("c", "").await;
    assert_eq!((end.exit_status, end.oom_killed), (137, true));
});

machine_test!(device_program_is_in_force, guest, {
    // r0 = 0: no device at all.
    let deny: Vec<u8> = [0xb7u8, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let mut plan = plan(&["sh", "-c", "cat < /dev/urandom"]);
    plan.cgroup = Some(Cgroup { device_program: deny, ..Default::default() }).into();
    let (_, message) = refusal(guest.create(plan.clone()).await);
    assert!(message.contains("operation not permitted"), "{message}");
    let allow: Vec<u8> = [0xb7u8, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0].to_vec();
    plan.cgroup = Some(Cgroup { device_program: allow, ..Default::default() }).into();
    plan.process.as_mut().unwrap().args[2] = "head -c 4 /dev/urandom | wc -c".into();
    assert_eq!(guest.run(plan).await.1.trim(), "4");
});

machine_test!(two_containers_share_a_machine, guest, {
    crate::host::fill_rootfs(&guest.share.path().join("d/rootfs"));
    let mut other = plan(&["sh", "-c", "sleep 60 & echo up; wait"]);
    (other.container_id, other.rootfs) = ("d".into(), "d/rootfs".into());
    let mut io = guest.launch(other).await.unwrap();
    read_until(&mut io.stdout, "up").await;
    assert_eq!(guest.run(plan(&["sh", "-c", "echo $$; exit 2"])).await, (2, "1\n".into(), String::new()));
    assert_eq!(guest.client.processes(patience(), &container("d")).await.unwrap().processes.len(), 2);
    guest.remove("d").await;
});

#[tokio::test]
#[ignore = "boots a machine"]
async fn network_is_what_the_plan_says() {
    in_time(network()).await;
}

async fn network() {
    let nics = [0, SPARE, DEVICE].map(|n| {
        let device = format!("virtio-net-device,netdev=n{n},mac=52:58:4c:00:00:{n:02x}");
        ["-netdev".to_owned(), format!("hubport,id=n{n},hubid=0"), "-device".to_owned(), device]
    });
    let devices: Vec<&str> = nics.iter().flatten().map(String::as_str).collect();
    let guest = Guest::boot(&devices).await;
    let network = Network {
        interfaces: vec![
            Interface {
                name: "eth0".into(),
                nic: DEVICE.into(),
                mac: vec![2, 0x42, 172, 17, 0, 2],
                mtu: 1450,
                addresses: vec![
                    Address {
                        ip: vec![172, 17, 0, 2],
                        prefix: 16,
                        broadcast: vec![172, 17, 255, 255],
                        ..Default::default()
                    },
                    Address {
                        ip: [&[0xfd; 1][..], &[0; 14], &[2]].concat(),
                        prefix: 64,
                        ..Default::default()
                    },
                ],
                ipv6: true,
                ..Default::default()
            },
            Interface { name: "eth1".into(), nic: 0, ..Default::default() },
        ],
        routes: vec![
            Route {
                destination: vec![0; 4],
                gateway: vec![172, 17, 0, 1],
                interface: "eth0".into(),
                ..Default::default()
            },
            Route {
                destination: vec![172, 17, 0, 0],
                prefix: 16,
                scope: 253,
                preferred_source: vec![172, 17, 0, 2],
                interface: "eth0".into(),
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    configure(&guest).await;
    guest.client.connect_network(patience(), &network).await.unwrap();
    let script = "busybox ip addr show eth0; busybox ip route; busybox ip -6 route; busybox ip link";
    let io = guest.launch(plans::plan(&["sh", "-c", script])).await.unwrap();
    let output = read_all(io.stdout).await;
    for wanted in [
        "mtu 1450",
        "02:42:ac:11:00:02",
        "inet 172.17.0.2/16 brd 172.17.255.255",
        "inet6 fd00::2/64 scope global",
        "default via 172.17.0.1 dev eth0",
        "172.17.0.0/16 dev eth0 scope link  src 172.17.0.2",
        "LOOPBACK,UP",
    ] {
        assert!(output.contains(wanted), "{wanted}: {output}");
    }
    let global = output.lines().find(|line| line.contains("fd00::2/64")).unwrap();
    assert!(!global.contains("tentative"), "{output}");
    assert!(!output.contains("52:58:4c:00:00:03"), "{output}");
    assert_eq!(guest.end().await, Some(0));
}
