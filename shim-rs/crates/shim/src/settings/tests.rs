// SPDX-License-Identifier: Apache-2.0
use super::*;

fn setting(path: &str, value: &str) -> Setting {
    Setting { path: path.to_owned(), value: value.to_owned() }
}

/// What a guest is given of these settings of a 6.12 kernel.
fn given(settings: &[(&str, &str)], limits: &[Rlimit]) -> Vec<(String, String)> {
    given_by((6, 12), settings, limits)
}

fn given_by(release: (u32, u32), settings: &[(&str, &str)], limits: &[Rlimit]) -> Vec<(String, String)> {
    let settings = settings.iter().map(|(path, value)| setting(path, value)).collect();
    let kernel = Kernel { settings, release, commit_limit_kib: Some(3_000_000) };
    let given = for_guest(&kernel, &[], limits);
    given.into_iter().map(|setting| (setting.path, setting.value)).collect()
}

fn pair(path: &str, value: &str) -> (String, String) {
    (path.to_owned(), value.to_owned())
}

#[test]
fn names_are_told_once_and_stay_below_the_directory() {
    for list in [list::KERNEL, list::NETWORK] {
        let mut seen = Vec::new();
        for name in list {
            assert!(!seen.contains(name), "{name} is there twice");
            assert!(!name.starts_with('/') && !name.contains(".."), "{name}");
            seen.push(name);
        }
    }
}

#[test]
fn what_lets_an_idle_guest_sleep_is_not_the_hosts_to_set() {
    // boot.rs of the agent, machine.rs, and what the kernel does by the clock.
    let agents = ["vm/compaction_proactiveness", "vm/stat_interval", "net/core/bpf_jit_enable"];
    for name in list::KERNEL.iter().chain(list::NETWORK) {
        assert!(!agents.contains(name) && !name.starts_with("vm/dirty_"), "{name}");
    }
}

#[test]
fn a_kernel_is_read_as_it_is_and_without_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("net")).unwrap();
    std::fs::write(root.path().join("net/tcp_rmem"), "4096\t131072\t6291456\n").unwrap();
    std::fs::write(root.path().join("net/reserved"), "\n").unwrap();
    let read = read(root.path(), &["net/tcp_rmem", "net/none", "net/reserved"]);
    assert_eq!(read, [setting("net/tcp_rmem", "4096\t131072\t6291456"), setting("net/reserved", "")]);
}

#[test]
fn releases_are_told_apart_by_two_numbers() {
    assert_eq!(version("6.12.48+deb13-amd64"), (6, 12));
    assert_eq!(version("5.4-rc1"), (5, 4));
    assert_eq!(version("odd"), (0, 0));
}

#[test]
fn limits_find_room() {
    let limit = |hard| [Rlimit { resource: NOFILE, soft: 1024, hard, ..Rlimit::default() }];
    let files = |host: &str, hard| given(&[("fs/nr_open", host)], &limit(hard))[0].1.clone();
    assert_eq!(files("1048576", 20_000), "1048576");
    assert_eq!(files("1048576", 2_000_000), "2000000");
    assert_eq!(files("odd", 2_000_000), "odd");
}

#[test]
fn a_pid_namespace_of_a_newer_kernel_begins_at_the_most() {
    let pids = [("kernel/pid_max", "32768")];
    assert_eq!(given_by((6, 13), &pids, &[])[0].1, "32768");
    assert_eq!(given_by((6, 14), &pids, &[])[0].1, PID_MAX_LIMIT);
}

#[test]
fn memory_is_committed_as_the_host_does() {
    let host = |mode, ratio, kbytes| {
        let settings = [
            ("vm/overcommit_kbytes", kbytes),
            ("vm/overcommit_memory", mode),
            ("vm/overcommit_ratio", ratio),
        ];
        given(&settings, &[])
    };
    assert_eq!(host("0", "50", "0"), [pair("vm/overcommit_memory", "0"), pair("vm/overcommit_ratio", "50")]);
    assert_eq!(host("1", "0", "77"), [pair("vm/overcommit_kbytes", "77"), pair("vm/overcommit_memory", "1")]);
    let strict = [pair("vm/overcommit_kbytes", "3000000"), pair("vm/overcommit_memory", "2")];
    assert_eq!(host("2", "50", "0"), strict);
    assert_eq!(host("2", "0", "77"), strict);
}

#[test]
fn a_namespaces_value_goes_before_the_kernels() {
    let both = "net/core/optmem_max";
    let kernel =
        Kernel { settings: vec![setting(both, "1"), setting("fs/file-max", "9")], ..Kernel::default() };
    let given = for_guest(&kernel, &[setting(both, "2")], &[]);
    assert_eq!(given, [setting("fs/file-max", "9"), setting(both, "2")]);
}

#[test]
fn a_template_is_sent_what_has_changed() {
    let before =
        [setting("fs/file-max", "1"), setting(IP_FORWARD, "1"), setting("net/ipv4/conf/all/rp_filter", "0")];
    assert_eq!(beyond(before.to_vec(), &before), []);
    let mut now = before.to_vec();
    now[0].value = "2".to_owned();
    assert_eq!(beyond(now.clone(), &before), [setting("fs/file-max", "2")]);
    // Which the kernel resets.
    now[1].value = "0".to_owned();
    assert_eq!(beyond(now.clone(), &before), now);
    assert_eq!(beyond(now.clone(), &[]), now);
}
