// SPDX-License-Identifier: Apache-2.0
//! A share as a guest sees it, through QEMU and virtiofsd.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::{fs, time::Duration};

use boxlite_shim::share::{self, ShareMount, Source};
use boxlite_vmm::virtiofsd::VirtiofsdConfig;
use boxlite_vmm::{Hypervisor, Qemu, Share};

#[path = "../../vmm/tests/guest/mod.rs"]
mod guest;
use guest::{Dialogue, Guest};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_guest_sees_what_is_shared_and_what_is_added_later() {
    let Some(guest) = Guest::prepare() else { return };
    let scratch = guest.scratch.path();
    let directory = scratch.join("share");
    let shared = |name: &str, readonly| {
        let source: PathBuf = scratch.join(name);
        fs::create_dir(&source).expect("source");
        fs::write(source.join("greeting"), format!("hello from {name}\n")).expect("file");
        ShareMount { source: Source::Path(source), name: format!("{name}/rootfs"), readonly, recursive: true }
    };
    fs::create_dir(&directory).expect("directory");
    let daemon = VirtiofsdConfig {
        binary: "/usr/libexec/virtiofsd".into(),
        directory: PathBuf::new(),
        socket_directory: scratch.to_owned(),
    };
    let open = share::open(&directory, &[shared("first", false), shared("sealed", true)], &daemon, || ())
        .expect("open");
    let mut config = guest.config();
    config.share = Some(Share { socket: open.socket, tag: "test".to_owned() });
    let machine = Qemu.launch(config).expect("launch");
    let mut channel = Dialogue::with(&*machine);

    let talk = async {
        assert_eq!(channel.ask("mount test").await, "ok", "{}", open.process.stderr());
        assert_eq!(channel.ask("read /share/first/rootfs/greeting").await, "hello from first");
        assert_eq!(channel.ask("write /share/first/rootfs/new").await, "ok");
        assert_eq!(channel.ask("write /share/sealed/rootfs/new").await, "error: Read-only file system");
        assert_eq!(channel.ask("write /share/stray").await, "error: Read-only file system");
        assert_eq!(
            channel.ask("read /share/second/rootfs/greeting").await,
            "error: No such file or directory"
        );

        share::add(&open.process, &directory, &[shared("second", false)]).expect("add");
        assert_eq!(channel.ask("read /share/second/rootfs/greeting").await, "hello from second");
        share::remove(&open.process, &["second/rootfs"]).expect("remove");
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("in time");
    assert!(scratch.join("first/new").exists());
    machine.end().await;
    tokio::time::timeout(PATIENCE, open.process.exited()).await.expect("the daemon ends with the machine");
}
