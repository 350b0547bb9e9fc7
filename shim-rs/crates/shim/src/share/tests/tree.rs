// SPDX-License-Identifier: Apache-2.0
//! A container's tree, seen by a process that stands in it. Needs root, as the shim does.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::share::{ShareMount, Source, open_plain};

struct Container {
    scratch: tempfile::TempDir,
    shared: Vec<ShareMount>,
    tree: Tree,
}

impl Container {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("scratch");
        for name in ["share", "rootfs/etc", "rootfs/proc", "volume/sub"] {
            fs::create_dir_all(scratch.path().join(name)).expect("directory");
        }
        fs::write(scratch.path().join("rootfs/etc/name"), "container").expect("file");
        fs::write(scratch.path().join("volume/file"), "volume").expect("file");
        let tree = Tree { rootfs: "c/rootfs".into(), readonly: false, places: Vec::new() };
        let container = Self { scratch, shared: Vec::new(), tree };
        container.shares("rootfs", "c/rootfs", false)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn shares(mut self, source: &str, name: &str, readonly: bool) -> Self {
        let source = Source::Path(self.path(source));
        self.shared.push(ShareMount { source, name: name.into(), readonly, recursive: true });
        self
    }

    fn volume(self, source: &str, destination: &str, readonly: bool) -> Self {
        let name = format!("c/m{}", self.tree.places.len());
        let mut with = self.shares(source, &name, readonly);
        with.tree.places.push(Place { destination: destination.into(), content: Content::Shared(name) });
        with
    }

    fn guest_only(mut self, destination: &str) -> Self {
        self.tree.places.push(Place { destination: destination.into(), content: Content::GuestOnly });
        self
    }

    /// Runs `look` with the tree at the path it gets.
    fn inside<T: Send>(&self, look: impl FnOnce(&Path) -> T + Send) -> T {
        let directory = self.path("share");
        let share = open_plain(&directory, &self.shared).expect("opened");
        super::inside(share.as_fd(), &directory, &self.tree, || look(&directory)).expect("assembled").result
    }
}

#[test]
fn the_root_and_the_volumes_are_the_containers_and_live() {
    let container =
        Container::new().volume("volume", "/data", false).volume("volume/file", "/etc/file", false);
    container.inside(|tree| {
        assert_eq!(fs::read_to_string(tree.join("etc/name")).expect("root"), "container");
        assert_eq!(fs::read_to_string(tree.join("etc/file")).expect("file"), "volume");
        fs::write(tree.join("data/new"), "x").expect("writable");
        fs::write(tree.join("etc/new"), "y").expect("writable");
    });
    assert!(container.path("volume/new").exists() && container.path("rootfs/etc/new").exists());
    // As the agent does, where the image lacks it.
    assert!(container.path("rootfs/data").is_dir() && container.path("rootfs/etc/file").is_file());
    assert_eq!(fs::metadata(container.path("rootfs/etc/file")).expect("place").len(), 0);
}

#[test]
fn what_is_read_only_for_the_container_is_read_only_here() {
    let mut container = Container::new().volume("volume", "/data", true).volume("volume/sub", "/sub", false);
    container.tree.readonly = true;
    container.inside(|tree| {
        for path in ["etc/new", "data/new"] {
            let error = fs::write(tree.join(path), "x").expect_err(path);
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{path}");
        }
        fs::write(tree.join("sub/new"), "x").expect("a writable volume of a read-only container");
    });
}

#[test]
fn a_link_of_the_image_cannot_lead_a_volume_out() {
    let container = Container::new().volume("volume", "/away/etc/boxlite-test", false);
    symlink("../../../../../../..", container.path("rootfs/away")).expect("link");
    container.inside(|tree| {
        assert!(tree.join("etc/boxlite-test/file").exists());
    });
    assert!(!Path::new("/etc/boxlite-test").exists());
}

#[test]
fn what_only_the_guest_has_is_empty_and_takes_nothing() {
    let container = Container::new().guest_only("/proc").guest_only("/proc/sys").guest_only("/tmp").volume(
        "volume/file",
        "/tmp/deep/file",
        false,
    );
    container.inside(|tree| {
        assert_eq!(fs::read_dir(tree.join("proc")).expect("proc").count(), 0);
        let error = fs::write(tree.join("tmp/new"), "x").expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
        assert_eq!(fs::read_to_string(tree.join("tmp/deep/file")).expect("a volume in it"), "volume");
    });
    assert_eq!(fs::read_dir(container.path("rootfs/tmp")).expect("place").count(), 0);
}

#[test]
fn places_of_the_guests_that_the_image_lacks_are_told() {
    let container = Container::new().guest_only("/proc").guest_only("/new/place").guest_only("/new/place/in");
    let (share, directory) =
        (open_plain(&container.path("share"), &container.shared), container.path("share"));
    let made = || super::inside(share.as_ref().expect("opened").as_fd(), &directory, &container.tree, || ());
    assert_eq!(made().expect("assembled").made, ["/new/place"]);
    assert!(made().expect("assembled").made.is_empty(), "it has been there since");
}

#[test]
fn a_file_on_a_directory_and_the_reverse_are_refused_in_words_engines_know() {
    for (source, destination) in [("volume/file", "/etc"), ("volume", "/etc/name")] {
        let container = Container::new().volume(source, destination, false);
        let directory = container.path("share");
        let share = open_plain(&directory, &container.shared).expect("opened");
        let refused =
            super::inside(share.as_fd(), &directory, &container.tree, || ()).expect_err("not a directory");
        assert!(crate::error::chain(&refused).contains("Not a directory"), "{refused}");
    }
}

#[test]
fn nothing_in_it_can_be_executed_or_is_a_device() {
    let container = Container::new();
    fs::copy("/bin/busybox", container.path("rootfs/busybox")).expect("busybox-static is installed");
    let node = container.path("rootfs/null");
    let made = Command::new("/bin/busybox").arg("mknod").arg(&node).args(["c", "1", "3"]).status();
    assert!(made.expect("busybox").success());
    fs::File::open(&node).expect("a device on the host");
    container.inside(|tree| {
        let error = Command::new(tree.join("busybox")).arg("true").status().expect_err("not executed");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(
            fs::File::open(tree.join("null")).expect_err("no device").kind(),
            ErrorKind::PermissionDenied
        );
    });
}
