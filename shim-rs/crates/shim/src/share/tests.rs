// SPDX-License-Identifier: Apache-2.0
//! The share seen from inside its namespace and from the host. Needs root, as the shim does.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

mod served;

/// A source tree, and the directory of a share.
struct Scratch {
    root: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("scratch");
        for name in ["share", "source/sub", "lower1", "lower2", "upper", "work"] {
            fs::create_dir_all(root.path().join(name)).expect("directory");
        }
        fs::write(root.path().join("source/file"), "content").expect("file");
        fs::write(root.path().join("lower1/one"), "1").expect("file");
        fs::write(root.path().join("lower2/two"), "2").expect("file");
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn share(&self) -> PathBuf {
        self.path("share")
    }

    fn bind(&self, source: &str, name: &str) -> ShareMount {
        let source = Source::Path(self.path(source));
        ShareMount { source, name: name.to_owned(), readonly: false, recursive: false }
    }

    fn overlay(&self, lower: &str) -> Mount {
        let (upper, work) = (self.path("upper"), self.path("work"));
        let options = vec![
            format!("lowerdir={lower}"),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ];
        Mount { fstype: "overlay".to_owned(), source: "overlay".to_owned(), target: String::new(), options }
    }
}

fn mounts(mounts: Vec<Mount>) -> ShareMount {
    let source = Source::Mounts(mounts);
    ShareMount { source, name: "c/rootfs".to_owned(), readonly: false, recursive: false }
}

/// Runs `look` where the share is.
fn inside<T: Send>(scratch: &Scratch, shared: &[ShareMount], look: impl FnOnce(&Path) -> T + Send) -> T {
    let share = scratch.share();
    let namespace = open_plain(&share, shared).expect("opened");
    within(namespace.as_fd(), || look(&share)).expect("entered")
}

fn host_mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("mountinfo")
}

#[test]
fn trees_and_files_appear_under_their_names_and_only_there() {
    let scratch = Scratch::new();
    let before = host_mounts();
    let shared = [scratch.bind("source", "c/rootfs"), scratch.bind("source/file", "c/m0")];
    inside(&scratch, &shared, |share| {
        assert_eq!(fs::read_to_string(share.join("c/rootfs/file")).expect("tree"), "content");
        assert_eq!(fs::read_to_string(share.join("c/m0")).expect("file"), "content");
        fs::write(share.join("c/rootfs/new"), "x").expect("writable");
        assert_eq!(fs::metadata(share).expect("root").mode() & 0o7777, 0o700);
    });
    assert_eq!(fs::read_to_string(scratch.path("source/new")).expect("reached the source"), "x");
    assert_eq!(fs::read_dir(scratch.share()).expect("share").count(), 0);
    assert_eq!(host_mounts(), before);
}

#[test]
fn the_share_itself_takes_no_writes() {
    let scratch = Scratch::new();
    inside(&scratch, &[scratch.bind("source", "c/rootfs")], |share| {
        for place in ["stray", "c/stray"] {
            let refused = fs::write(share.join(place), "x").expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        }
    });
}

#[test]
fn readonly_holds_and_setuid_survives() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path("source/file"), fs::Permissions::from_mode(0o4755)).expect("mode");
    let shared = ShareMount { readonly: true, ..scratch.bind("source", "c/rootfs") };
    inside(&scratch, &[shared], |share| {
        let refused = fs::write(share.join("c/rootfs/file"), "x").expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        assert_eq!(fs::metadata(share.join("c/rootfs/file")).expect("file").mode() & 0o7777, 0o4755);
    });
    fs::write(scratch.path("source/file"), "the host may write").expect("written");
}

#[test]
fn submounts_come_along_when_asked_and_readonly_reaches_them() {
    let scratch = Scratch::new();
    let ShareMount { source, .. } = scratch.bind("source", "");
    // A mount of the host, made in a namespace that stands for it.
    in_own_namespace(|| {
        rustix::mount::mount("t", scratch.path("source/sub"), "tmpfs", MountFlags::empty(), None)
            .expect("tmpfs");
        fs::write(scratch.path("source/sub/deep"), "deep").expect("file");
        let shared = |name: &str, readonly, recursive| ShareMount {
            source: source.clone(),
            name: name.to_owned(),
            readonly,
            recursive,
        };
        let shared =
            [shared("flat", false, false), shared("deep", false, true), shared("sealed", true, true)];
        inside(&scratch, &shared, |share| {
            assert!(!share.join("flat/sub/deep").exists());
            assert_eq!(fs::read_to_string(share.join("deep/sub/deep")).expect("deep"), "deep");
            fs::write(share.join("deep/sub/more"), "x").expect("writable");
            let refused = fs::write(share.join("sealed/sub/deep"), "x").expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        });
        Ok(())
    })
    .expect("namespace");
}

#[test]
fn an_overlay_is_mounted_as_the_engine_says() {
    let scratch = Scratch::new();
    let lower = format!("{}:{}", scratch.path("lower1").display(), scratch.path("lower2").display());
    inside(&scratch, &[mounts(vec![scratch.overlay(&lower)])], |share| {
        assert_eq!(fs::read_to_string(share.join("c/rootfs/one")).expect("one"), "1");
        fs::write(share.join("c/rootfs/two"), "changed").expect("writable");
    });
    assert_eq!(fs::read_to_string(scratch.path("upper/two")).expect("upper"), "changed");
    assert_eq!(fs::read_to_string(scratch.path("lower2/two")).expect("lower"), "2");
}

#[test]
fn an_overlay_of_more_layers_than_a_page_holds_is_mounted() {
    let scratch = Scratch::new();
    let layer = |number: usize| scratch.path(&format!("{}/{number}", "deep".repeat(20)));
    let layers: Vec<String> = (0..60)
        .map(|number| {
            fs::create_dir_all(layer(number)).expect("layer");
            fs::write(layer(number).join(format!("file{number}")), "x").expect("file");
            layer(number).display().to_string()
        })
        .collect();
    assert!(layers.join(":").len() > 4096);
    let before = std::env::current_dir().expect("directory");
    inside(&scratch, &[mounts(vec![scratch.overlay(&layers.join(":"))])], |share| {
        assert!(share.join("c/rootfs/file0").exists() && share.join("c/rootfs/file59").exists());
    });
    assert_eq!(std::env::current_dir().expect("directory"), before);
}

#[test]
fn later_mounts_land_inside_the_first() {
    let scratch = Scratch::new();
    let bind = |source: &str, target: &str, options: &[&str]| Mount {
        fstype: "bind".to_owned(),
        source: scratch.path(source).display().to_string(),
        target: target.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let list = vec![bind("source", "", &["rbind", "rw"]), bind("lower1", "sub", &["rbind", "ro"])];
    inside(&scratch, &[mounts(list)], |share| {
        assert_eq!(fs::read_to_string(share.join("c/rootfs/sub/one")).expect("one"), "1");
        fs::write(share.join("c/rootfs/new"), "x").expect("the first is writable");
        assert!(fs::write(share.join("c/rootfs/sub/new"), "x").is_err());
    });
}

#[test]
fn a_mount_on_the_root_of_others_hides_them_and_leaves_nothing_for_the_next() {
    let scratch = Scratch::new();
    let bind = |source: &str, target: &str| Mount {
        fstype: "bind".to_owned(),
        source: scratch.path(source).display().to_string(),
        target: target.to_owned(),
        options: vec!["bind".to_owned()],
    };
    let stacked = mounts(vec![bind("source", ""), bind("lower1", "")]);
    let next = ShareMount { name: "d/rootfs".to_owned(), ..mounts(vec![bind("lower2", "")]) };
    inside(&scratch, &[stacked, next], |share| {
        assert!(share.join("c/rootfs/one").exists() && !share.join("c/rootfs/file").exists());
        assert!(share.join("d/rootfs/two").exists() && !share.join("d/rootfs/file").exists());
        assert_eq!(fs::read_dir(share).expect("share").count(), 2);
    });
    let nowhere = mounts(vec![bind("source", "sub")]);
    let refused = open_plain(&scratch.share(), &[nowhere]).expect_err("there is nothing yet to be inside of");
    assert!(matches!(refused, ShareError::Mount { .. }));
}

#[test]
fn a_target_that_is_a_link_stays_inside() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("source/etc")).expect("directory");
    symlink("/etc", scratch.path("source/link")).expect("link");
    let bind = |source: &str, target: &str| Mount {
        fstype: "bind".to_owned(),
        source: scratch.path(source).display().to_string(),
        target: target.to_owned(),
        options: vec!["bind".to_owned()],
    };
    inside(&scratch, &[mounts(vec![bind("source", ""), bind("lower1", "link")])], |share| {
        assert!(share.join("c/rootfs/etc/one").exists());
        assert!(!Path::new("/etc/one").exists());
    });
}

#[test]
fn a_missing_source_is_named() {
    let scratch = Scratch::new();
    let refused = open_plain(&scratch.share(), &[scratch.bind("nowhere", "c/rootfs")]).expect_err("refused");
    assert!(matches!(&refused, ShareError::Source { path, .. } if *path == scratch.path("nowhere")));
    assert!(refused.to_string().contains("nowhere"));
}

#[test]
fn a_type_the_kernel_does_not_know_is_not_guessed_at() {
    let scratch = Scratch::new();
    let source = scratch.path("source").display().to_string();
    let mount = Mount { fstype: "nosuchfs".to_owned(), source, ..Mount::default() };
    let refused = open_plain(&scratch.share(), &[mounts(vec![mount])]).expect_err("refused");
    assert!(matches!(refused, ShareError::Mount { fstype, .. } if fstype == "nosuchfs"));
    let refused = open_plain(&scratch.share(), &[mounts(Vec::new())]).expect_err("no layers");
    assert!(matches!(refused, ShareError::Name { .. }));
}

#[test]
fn names_are_plain_and_free() {
    let scratch = Scratch::new();
    for name in ["", "/c", "c/", "c//m", "../c", "c/../../m", ".", "c/\0"] {
        let refused = open_plain(&scratch.share(), &[scratch.bind("source", name)]).expect_err("refused");
        assert!(matches!(refused, ShareError::Name { .. }), "{name:?}: {refused}");
    }
    let twice = [scratch.bind("source", "c/m"), scratch.bind("source", "c/m")];
    assert!(matches!(open_plain(&scratch.share(), &twice), Err(ShareError::Name { .. })));
    // A name below another mount would lead through what a guest owns.
    let nested = [scratch.bind("source", "c"), scratch.bind("lower1", "c/sub")];
    assert!(matches!(open_plain(&scratch.share(), &nested), Err(ShareError::Host { .. })));
}

#[test]
fn a_link_in_place_of_the_directory_is_refused() {
    let scratch = Scratch::new();
    let link = scratch.path("link");
    symlink(scratch.share(), &link).expect("link");
    assert!(matches!(open_plain(&link, &[scratch.bind("source", "c")]), Err(ShareError::Host { .. })));
}

#[test]
fn processes_started_within_a_namespace_stay_there() {
    let scratch = Scratch::new();
    let namespace = open_plain(&scratch.share(), &[scratch.bind("source", "c")]).expect("open");
    let file = scratch.path("share/c/file");
    let read = || Command::new("cat").arg(&file).output().expect("cat");
    let output = within(namespace.as_fd(), read).expect("entered");
    assert_eq!(output.stdout, b"content");
    assert!(!read().status.success());
}
