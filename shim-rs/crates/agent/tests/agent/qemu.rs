// SPDX-License-Identifier: Apache-2.0
//! A bare machine for the agent: QEMU, virtiofsd and an initrd of the agent alone, with no shim about.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::child::Program;

const KERNEL: &str = "/usr/local/lib/boxlite/vmlinux";
const VIRTIOFSD: &str = "/usr/libexec/virtiofsd";
const MACHINE: &str = "microvm,accel=tcg,x-option-roms=off,isa-serial=on,rtc=on,acpi=off,pcie=off,usb=off,\
                       memory-backend=ram";

/// The static agent `cargo run -p xtask -- agent` has built.
fn agent() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_boxlite-agent")).ancestors().nth(2).unwrap();
    target.join("x86_64-unknown-linux-gnu/agent/boxlite-agent")
}

/// One entry of a newc archive.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let inode = archive.len();
    let length = u32::try_from(content.len()).unwrap();
    let fields = [u32::try_from(inode).unwrap(), mode, 0, 0, 1, 0, length, 0, 0, 0, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(format!("{:08x}{:08x}{name}\0", name.len() + 1, 0).as_bytes());
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn initrd() -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, "init", 0o100_755, &fs::read(agent()).unwrap());
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

/// Serves `share` on a socket in `work`.
pub(crate) fn start_virtiofsd(share: &Path, work: &Path) -> Program {
    let listener = UnixListener::bind(work.join("fs.sock")).unwrap();
    let mut command = Command::new(VIRTIOFSD);
    command
        .args([
            "--fd",
            "0",
            "--sandbox",
            "namespace",
            "--cache",
            "auto",
            "--log-level",
            "error",
            "--shared-dir",
        ])
        .arg(share)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    Program::start(&mut command)
}

/// Boots; the channel to the agent, and QEMU. The console goes where the test's output goes.
pub(crate) async fn start(work: &Path, devices: &[&str]) -> (UnixStream, Program) {
    fs::write(work.join("initrd"), initrd()).unwrap();
    let listener = UnixListener::bind(work.join("agent.sock")).unwrap();
    let path = |name: &str| work.join(name).to_str().unwrap().to_owned();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UnixListener::from_std(listener).unwrap();
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", MACHINE, "-cpu", "max", "-m", "256M", "-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-object", "memory-backend-memfd,id=ram,size=256M,share=on", "-display", "none"])
        .args(["-global", "virtio-mmio.force-legacy=false", "-serial", "stdio"])
        .args(["-kernel", KERNEL, "-initrd", &path("initrd")])
        // Pages are cleared by the guest because QEMU's TCG does not see that virtiofsd filled them with new code.
        .args(["-append", "console=ttyS0 panic=-1 reboot=t quiet dummy.numdummies=0 init_on_alloc=1"])
        .args(["-chardev", &format!("socket,id=agent,path={}", path("agent.sock"))])
        .args(["-device", "virtio-serial-device,max_ports=2"])
        .args(["-device", "virtserialport,chardev=agent,name=org.boxlite.agent"])
        .args(["-chardev", &format!("socket,id=fs,path={}", path("fs.sock"))])
        .args(["-device", "vhost-user-fs-device,chardev=fs,tag=boxlite"])
        .args(devices)
        .stdin(Stdio::null());
    let mut qemu = Program::start(&mut command);
    tokio::select! {
        accepted = listener.accept() => (accepted.unwrap().0.into_std().unwrap(), qemu),
        status = qemu.ended() => panic!("QEMU did not start: {status}"),
    }
}
