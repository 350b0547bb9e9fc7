// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::plan::MachineDefaults;

fn mount(typ: &str, source: &str, destination: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_typ(Some(typ.into()))
        .set_source(Some(source.into()))
        .set_destination(destination.into())
        .set_options(Some(options.iter().map(|word| (*word).to_owned()).collect()));
    mount
}

fn socket(takes_connections: bool, engine: bool) -> FileKind {
    FileKind::Socket(SocketFacts { mode: 0o660, uid: 7, gid: 8, takes_connections, engine })
}

fn kind_of(path: &Path) -> Option<FileKind> {
    match path.to_str()? {
        "/dir" | "/b/rel" => Some(FileKind::Directory),
        "/file" => Some(FileKind::File),
        "/sock" => Some(socket(true, false)),
        "/log" => Some(socket(false, false)),
        "/engine" => Some(socket(true, true)),
        "/fifo" => Some(FileKind::Fifo),
        "/dev/null" => Some(FileKind::Char { major: 1, minor: 3 }),
        "/dev/nvidia0" => Some(FileKind::Char { major: 195, minor: 0 }),
        _ => None,
    }
}

fn compiled(
    mounts: &Vec<Mount>,
    engine_sockets: bool,
    warnings: &mut Vec<String>,
) -> Result<Mounts, Refusal> {
    let defaults = MachineDefaults { memory_mib: None, vcpus: None };
    let kind_of = &kind_of;
    let facts = HostFacts {
        memory_mib: 4096,
        cpus: 2,
        limits: &[],
        defaults,
        kind_of,
        engine_sockets,
        rootfs_mounts: false,
    };
    compile("c", Path::new("/b"), Some(mounts), &facts, warnings)
}

fn all(mounts: &Vec<Mount>, engine_sockets: bool) -> Result<Mounts, Refusal> {
    compiled(mounts, engine_sockets, &mut Vec::new())
}

fn one(mount: Mount) -> Result<(Mounts, Vec<String>), Refusal> {
    let mut warnings = Vec::new();
    compiled(&vec![mount], false, &mut warnings).map(|made| (made, warnings))
}

#[test]
fn a_bind_becomes_an_item_of_the_share() {
    let (made, warnings) = one(mount("bind", "/dir", "/data", &["rbind", "rprivate", "ro"])).unwrap();
    assert_eq!(made.plan[0].kind, Kind::SHARE.into());
    assert_eq!(made.plan[0].source, "c/m0");
    assert_eq!(made.plan[0].flags, MS_BIND | MS_REC | MS_RDONLY);
    let item = &made.share[0];
    assert_eq!((item.name.as_str(), item.source.as_path()), ("c/m0", Path::new("/dir")));
    assert!(item.readonly && item.recursive && !item.readonly_recursive);
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn rro_is_read_only_all_the_way_down() {
    let (made, _) = one(mount("none", "/dir", "/data", &["rbind", "rro"])).unwrap();
    assert!(made.share[0].readonly && made.share[0].readonly_recursive);
    assert_eq!(made.plan[0].recursive_attr, RDONLY);
}

#[test]
fn relative_source_is_below_the_bundle() {
    let (made, _) = one(mount("bind", "rel", "/data", &[])).unwrap();
    assert_eq!(made.share[0].source, Path::new("/b/rel"));
    assert!(!made.share[0].recursive);
}

#[test]
fn missing_source_is_said_in_the_kernels_words() {
    let refusal = one(mount("bind", "/gone", "/data", &["rbind"])).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "error mounting \"/gone\" at \"/data\": stat /gone: no such file or directory"
    );
}

#[test]
fn device_node_is_the_guests_own() {
    let (made, _) = one(mount("bind", "/dev/null", "/root/.viminfo", &["rbind"])).unwrap();
    assert_eq!((made.plan[0].kind, made.plan[0].source.as_str()), (Kind::GUEST.into(), "/dev/null"));
    assert!(made.share.is_empty());
}

#[test]
fn what_the_share_cannot_carry_is_refused() {
    for source in ["/log", "/engine", "/fifo", "/dev/nvidia0"] {
        let refusal = one(mount("bind", source, "/x", &["rbind"])).unwrap_err();
        assert!(matches!(refusal, Refusal::Unsupported { .. }), "{source}");
        assert!(refusal.to_string().contains(source), "{refusal}");
    }
}

#[test]
fn a_socket_becomes_a_way_out_of_the_machine() {
    let mounts = vec![mount("bind", "/sock", "/a", &["rbind", "ro"]), mount("bind", "/sock", "/b", &[])];
    let made = all(&mounts, false).unwrap();
    assert_eq!((made.plan[1].kind, made.plan[1].source.as_str()), (Kind::SOCKET.into(), "17"));
    assert_eq!(made.relays[0], RelayItem { way: 16, source: "/sock".into() });
    let relay = &made.listened[1];
    assert_eq!((relay.way, relay.mode, relay.uid, relay.gid), (17, 0o660, 7, 8));
    assert!(made.share.is_empty());
    let many = vec![mounts[0].clone(); MAX_RELAYS as usize + 1];
    assert!(all(&many, false).unwrap_err().is_invalid());
}

#[test]
fn an_engines_socket_is_for_who_says_so() {
    let mounts = vec![mount("bind", "/engine", "/var/run/docker.sock", &["rbind"])];
    assert!(all(&mounts, false).unwrap_err().to_string().contains("[sockets]"));
    assert_eq!(all(&mounts, true).unwrap().relays.len(), 1);
}

#[test]
fn file_systems_are_the_guests() {
    let options = ["nosuid", "mode=755", "size=64k", "context=\"a:b\"", "tmpcopyup"];
    let (made, _) = one(mount("tmpfs", "tmpfs", "/run", &options)).unwrap();
    assert_eq!(made.plan[0].data, "mode=755,size=64k");
    assert_eq!(made.plan[0].fstype, "tmpfs");
    assert!(made.plan[0].copy_up);
    let (made, _) = one(mount("cgroup2", "cgroup", "/sys/fs/cgroup", &["ro"])).unwrap();
    assert_eq!((made.plan[0].kind, made.plan[0].flags), (Kind::CGROUP.into(), MS_RDONLY));
}

#[test]
fn unknown_type_is_refused() {
    for typ in ["nfs", "ext4", "overlay", ""] {
        assert!(matches!(one(mount(typ, "x", "/x", &[])), Err(Refusal::Unsupported { .. })), "{typ}");
    }
}

#[test]
fn proc_is_not_mounted_over() {
    for (typ, source, destination) in [
        ("bind", "/dir", "/proc"),
        ("tmpfs", "tmpfs", "/proc"),
        ("tmpfs", "tmpfs", "/proc/cpuinfo"),
        ("bind", "/file", "/proc/self/attr"),
        ("bind", "/file", "/x/../proc/sysrq-trigger"),
        ("bind", "/dir", "/a/.."),
    ] {
        assert!(
            matches!(one(mount(typ, source, destination, &[])), Err(Refusal::Invalid { .. })),
            "{destination}"
        );
    }
    assert!(one(mount("bind", "/file", "/proc/cpuinfo", &[])).is_ok());
    assert!(one(mount("proc", "proc", "/proc", &[])).is_ok());
}

#[test]
fn propagation_to_the_host_is_warned_about() {
    let (made, warnings) = one(mount("bind", "/dir", "/data", &["rbind", "rshared"])).unwrap();
    assert_eq!(made.plan[0].propagation.len(), 1);
    assert_eq!(warnings, ["mount propagation at /data ends at the machine"]);
}
