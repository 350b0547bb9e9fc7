// SPDX-License-Identifier: Apache-2.0
//! What a double is decided to be. What it is then: `tests/task/double.rs`.

use boxlite_protocol::plan;

use super::*;
use crate::share::Source;

fn mount(kind: Kind, source: &str, destination: &str) -> plan::Mount {
    plan::Mount {
        kind: kind.into(),
        source: source.into(),
        destination: destination.into(),
        ..plan::Mount::default()
    }
}

fn shared(name: &str) -> ShareMount {
    ShareMount { source: Source::Path("/".into()), name: name.into(), readonly: false, recursive: false }
}

#[test]
fn it_sees_what_is_shared_and_nothing_of_what_only_the_guest_has() {
    let launch = LaunchPlan {
        rootfs: "c/rootfs".into(),
        rootfs_readonly: true,
        hostname: "box".into(),
        mounts: vec![
            mount(Kind::FILESYSTEM, "proc", "/proc"),
            mount(Kind::SHARE, "c/m0", "/etc/hosts"),
            mount(Kind::GUEST, "/dev/fuse", "/dev/fuse"),
            mount(Kind::SOCKET, "16", "/run/x.sock"),
            mount(Kind::CGROUP, "", "/sys/fs/cgroup"),
            mount(Kind::SHARE, "c/m9", "/never/shared"),
        ],
        process: Some(plan::Process { args: vec!["/bin/sh".into()], uid: 7, gid: 8, ..Default::default() })
            .into(),
        ..LaunchPlan::default()
    };
    let birth = Birth::of(&launch, &[shared("c/rootfs"), shared("c/m0")]);
    let place = |destination: &str, content| Place { destination: destination.into(), content };
    assert_eq!(
        birth.tree.places,
        [
            place("/proc", Content::GuestOnly),
            place("/etc/hosts", Content::Shared("c/m0".into())),
            place("/sys/fs/cgroup", Content::GuestOnly),
        ]
    );
    assert_eq!((birth.uid, birth.gid, birth.tree.readonly, birth.hostname.as_str()), (7, 8, true, "box"));
}

#[test]
fn a_command_line_is_shown_as_far_as_it_is_short() {
    let line = |args: &[&str]| shown(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    assert_eq!(line(&["sh", "-c", ""]), ["sh", "-c", ""]);
    assert_eq!(line(&[]), ["container"]);
    assert_eq!(line(&["a\0b", "c"]), ["a", "c"]);
    let long = "ä".repeat(COMMAND_LINE);
    let cut = line(&["x", &long, "never"]);
    assert_eq!(cut.len(), 2);
    assert!(cut.iter().map(|word| word.len() + 1).sum::<usize>() <= COMMAND_LINE + 1);
}
