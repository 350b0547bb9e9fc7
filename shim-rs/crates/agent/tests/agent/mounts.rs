// SPDX-License-Identifier: Apache-2.0
//! The container's file system: what is there, what is hidden, what cannot be written or escaped.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use boxlite_protocol::plan::Sysctl;
use boxlite_protocol::plan::mount::Kind;

use crate::agent_test;
use crate::host::{read_all, refusal};
use crate::plans::{filesystem, plan, share};

const READ_ONLY: u64 = libc::MS_RDONLY;

agent_test!(read_only_root_keeps_its_mounts_writable, guest, {
    let mut plan = plan(&["sh", "-c", "touch /x; touch /dev/shm/y && echo shm"]);
    plan.rootfs_readonly = true;
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "shm\n");
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(!guest.rootfs().join("x").exists());
});

agent_test!(masked_and_protected_paths_are, guest, {
    let script =
        "cat /proc/version | head -c 9; ls /sys/kernel; touch /sys/kernel/x; echo 1 > /proc/sys/kernel/panic";
    let mut plan = plan(&["sh", "-c", script]);
    plan.masked_paths = ["/proc/version", "/sys/kernel", "/proc/none"].map(String::from).to_vec();
    plan.readonly_paths = ["/proc/sys", "/proc/none"].map(String::from).to_vec();
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "");
    assert_eq!(error.matches("Read-only file system").count(), 2, "{error}");
});

agent_test!(a_masked_file_lies_on_the_containers_own_dev, guest, {
    let mut plan = plan(&["cat", "/proc/self/mounts"]);
    plan.masked_paths = vec!["/proc/version".into()];
    let (_, output, _) = guest.run(plan).await;
    let options = |path: &str| {
        let fields = output.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        fields.into_iter().find(|fields| fields[1] == path).map(|fields| fields[2..].join(" "))
    };
    assert!(options("/dev").unwrap().starts_with("tmpfs rw,nosuid"), "{output}");
    assert_eq!(options("/proc/version"), options("/dev"), "{output}");
});

agent_test!(what_is_only_called_the_null_device_hides_nothing, guest, {
    let mut plan = plan(&["sh", "-c", "head -c 4 /dev/null | wc -c; head -c 4 /proc/version | wc -c"]);
    plan.masked_paths = vec!["/proc/version".into()];
    let null = plan.nodes.iter_mut().find(|node| node.path == "/dev/null").unwrap();
    // In truth /dev/zero.
    null.minor = 5;
    assert_eq!(guest.run(plan).await.1, "4\n0\n");
});

agent_test!(volumes_are_shared_both_ways, guest, {
    let volumes = guest.share.path().join("c/volumes");
    fs::create_dir_all(volumes.join("data")).unwrap();
    fs::create_dir_all(volumes.join("fixed")).unwrap();
    fs::write(volumes.join("data/in"), "in\n").unwrap();
    fs::write(volumes.join("file"), "one file\n").unwrap();
    let mut plan = plan(&["sh", "-c", "cat /srv/data/in /etc/one; echo out > /srv/data/out; touch /fixed/x"]);
    plan.mounts.push(share("c/volumes/data", "/srv/data", 0));
    plan.mounts.push(share("c/volumes/fixed", "/fixed", READ_ONLY));
    plan.mounts.push(share("c/volumes/file", "/etc/one", READ_ONLY));
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "in\none file\n");
    assert!(error.contains("Read-only file system"), "{error}");
    assert_eq!(fs::read_to_string(volumes.join("data/out")).unwrap(), "out\n");
});

agent_test!(directory_onto_file_is_told_in_the_engines_words, guest, {
    fs::create_dir_all(guest.share.path().join("c/volumes/data")).unwrap();
    let mut plan = plan(&["true"]);
    plan.mounts.push(share("c/volumes/data", "/etc/plain", 0));
    let (_, message) = refusal(guest.create(plan).await);
    assert_eq!(message, "error mounting \"c/volumes/data\" to rootfs at \"/etc/plain\": not a directory");
});

agent_test!(links_of_the_image_do_not_lead_out, guest, {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(guest.share.path().join("c/volumes/data")).unwrap();
    symlink(outside.path(), guest.rootfs().join("escape")).unwrap();
    let mut plan = plan(&["true"]);
    plan.mounts.push(share("c/volumes/data", "/escape/here", 0));
    assert_eq!(guest.run(plan).await.0, 0);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let inside = guest.rootfs().join(outside.path().strip_prefix("/").unwrap()).join("here");
    assert!(inside.is_dir());
});

agent_test!(nothing_covers_the_kernels_files, guest, {
    fs::create_dir_all(guest.share.path().join("c/volumes/data")).unwrap();
    for destination in ["/proc/sys", "/proc/self", "/proc/1/attr", "/proc"] {
        let mut plan = plan(&["true"]);
        plan.mounts.push(share("c/volumes/data", destination, 0));
        let (_, message) = refusal(guest.create(plan).await);
        assert!(message.contains("/proc"), "{destination}: {message}");
    }
    fs::write(guest.share.path().join("c/volumes/cpuinfo"), "mine\n").unwrap();
    let mut plan = plan(&["cat", "/proc/cpuinfo"]);
    plan.mounts.push(share("c/volumes/cpuinfo", "/proc/cpuinfo", 0));
    assert_eq!(guest.run(plan).await.1, "mine\n");
});

agent_test!(proc_is_not_mounted_through_a_link, guest, {
    let rootfs = guest.rootfs();
    fs::remove_dir(rootfs.join("proc")).unwrap();
    symlink("tmp", rootfs.join("proc")).unwrap();
    let (_, message) = refusal(guest.create(plan(&["true"])).await);
    assert_eq!(message, "\"/proc\" must be mounted on ordinary directory");
});

agent_test!(tmpfs_takes_mode_and_content_of_the_image, guest, {
    let work = guest.rootfs().join("work");
    fs::create_dir_all(work.join("sub")).unwrap();
    fs::write(work.join("sub/file"), "kept\n").unwrap();
    symlink("sub/file", work.join("link")).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::chown(work.join("sub/file"), Some(7), Some(8)).unwrap();
    let script = "cat /work/link; ls -ldn /work | head -c 10; ls -ln /work/sub/file; touch /work/new";
    let mut plan = plan(&["sh", "-c", script]);
    let mut mount = filesystem("tmpfs", "/work", 0, "size=1m");
    mount.copy_up = true;
    plan.mounts.push(mount);
    let (_, output, _) = guest.run(plan).await;
    assert!(output.starts_with("kept\ndrwxr-x---"), "{output}");
    let owner: Vec<&str> = output.lines().nth(1).unwrap().split_whitespace().skip(2).take(2).collect();
    assert_eq!(owner, ["7", "8"], "{output}");
    assert!(!work.join("new").exists());
});

agent_test!(read_only_tmpfs_is_filled_first, guest, {
    let mut plan = plan(&["sh", "-c", "ls /dev/null; touch /dev/x"]);
    plan.mounts[1].flags |= READ_ONLY;
    let (_, output, error) = guest.run(plan).await;
    assert_eq!(output, "/dev/null\n");
    assert!(error.contains("Read-only file system"), "{error}");
});

agent_test!(null_device_of_the_guest_can_be_bound, guest, {
    let mut plan = plan(&["sh", "-c", "echo x > /etc/blank; cat /etc/blank; echo $?"]);
    let mut mount = share("", "/etc/blank", 0);
    (mount.kind, mount.source) = (Kind::GUEST.into(), "/dev/null".into());
    plan.mounts.push(mount);
    assert_eq!(guest.run(plan).await.1, "0\n");
});

agent_test!(sysctls_are_the_containers, guest, {
    let mut plan = plan(&["cat", "/proc/sys/kernel/msgmax"]);
    plan.sysctls = vec![Sysctl { path: "kernel/msgmax".into(), value: "9000".into(), ..Sysctl::default() }];
    assert_eq!(guest.run(plan).await.1, "9000\n");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), "9000\n");
});

agent_test!(container_sees_its_own_root_alone, guest, {
    let io = guest.launch(plan(&["sh", "-c", "cat /proc/self/mountinfo; ls /.."])).await.unwrap();
    let output = read_all(io.stdout).await;
    let lines = output.lines().filter(|line| line.contains(" - ")).count();
    assert_eq!(lines, 6, "{output}");
});
