// SPDX-License-Identifier: Apache-2.0
//! The command line of one QEMU. Pure: the same configuration gives the same line, see `golden/`.
//!
//! Rules: every device is named here, QEMU adds none; everything it talks over is a file descriptor at a
//! fixed number, so no path of a socket is on the line; values that come from outside have their commas
//! doubled. The order of devices is the order of their addresses and part of a template's key ([`shape`]).

use std::{ffi::OsString, fmt::Write};

use crate::machine::{Accel, MachineConfig, Nic, Start, Transport};

/// File descriptor numbers inside QEMU.
pub mod fd {
    /// The monitor's socket.
    pub const QMP: i32 = 3;
    /// The agent channel's socket.
    pub const AGENT: i32 = 4;
    /// The serial console's socket.
    pub const CONSOLE: i32 = 5;
    /// The vhost-user socket of the share.
    pub const SHARE: i32 = 6;
    /// Guest memory that was made outside.
    pub const MEMORY: i32 = 7;
    /// The state of a saved machine. QEMU opens it by way of the set [`super::STATE_SET`]: it has no file system then.
    pub const STATE: i32 = 8;
    /// The first network card's tap; the others follow.
    pub const TAP: i32 = 9;
}

/// The set of descriptors that [`fd::STATE`] is put in: `file:/dev/fdset/N` is that descriptor again.
pub const STATE_SET: i32 = 1;

/// Hands the kernel on to the processor, and leaves ACPI's tables in memory. Part of QEMU, which looks for it where it has
/// its data (`qemu-system-x86_64 -L help`).
const FIRMWARE: &str = "qboot.rom";

/// What every guest kernel is told: log to the serial port, and end the machine at once when it panics or
/// reboots (`reboot=t` saves two seconds of trying other ways). No network card exists that nobody asked for.
///
/// The kernel boots in the first part of its memory and takes in the rest when it is needed and allowed
/// (`grow_from`, docs/adr/0022). Its tables are those of a machine that boots with 512 MiB (`dhash_entries` and
/// `ihash_entries` of names and files, `thash_entries` of TCP). It sees more than 4 GiB and would set memory aside for devices that reach less
/// (`swiotlb`); there is none. It would lay out its table of connections for all of that memory: 2 MiB, all written
/// (`hashsize`); each place may hold eight, and how many there may be is the host's to say (the shim's `settings`).
const KERNEL_ARGS: &str = "console=ttyS0 panic=-1 reboot=t quiet dummy.numdummies=0 grow_from=128M swiotlb=noforce \
                           dhash_entries=65536 ihash_entries=32768 thash_entries=4096 nf_conntrack.hashsize=16384";

/// Under emulation, pages are cleared when they are allocated. QEMU notices that translated code went stale only when
/// the guest's own processor writes over it; the share's daemon fills page cache from outside. A page that held code
/// once, was freed and comes back as page cache would run as what it was: programs crash and read foreign memory.
/// Clearing is a write by the processor, and drops the old translation. Hardware has no such caches.
///
/// The rest saves what a boot spends on measuring and on patching code that is translated already, and what protects a
/// processor that does not speculate; docs/explanation/guest-kernel.md has the measurements.
const TCG_KERNEL_ARGS: &str =
    " init_on_alloc=1 lapic_timer_hz=1000000000 tsc=reliable mitigations=off noreplace-smp";

/// Under KVM the clock is the host's (kvm-clock), and the TSC beside it stays unused. The kernel would compare the two
/// twice a second for ever: two wake-ups of a guest that does nothing.
const KVM_KERNEL_ARGS: &str = " tsc=nowatchdog";

/// What QEMU itself may not do: no obsolete syscalls, no other ids, no new processes, no priorities.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The arguments after the program's name.
#[must_use]
pub fn arguments(config: &MachineConfig) -> Vec<OsString> {
    let mut line = Line::default();
    line.option("-name", format!("guest={}", doubled(&config.name)));
    line.option("-sandbox", SANDBOX);
    // Once everything is open: no path of the host leads anywhere from then on, /proc/PID/root neither.
    line.option("-run-with", format!("chroot={}", doubled(&config.empty_root.to_string_lossy())));
    line.flags(&["-nodefaults", "-no-user-config", "-no-reboot"]);
    line.option("-display", "none");
    board(config, &mut line);
    memory(config, &mut line);
    boot(config, &mut line);
    channel(config, &mut line);
    chardevs(&mut line);
    devices(config, &mut line);
    line.arguments
}

fn devices(config: &MachineConfig, line: &mut Line) {
    if let Some(share) = &config.share {
        line.option("-chardev", format!("socket,id=share,fd={}", fd::SHARE));
        // The queue's size bounds one request: 1024 lets the guest ask for its maximum of 1 MiB.
        let device = match config.transport {
            Transport::Mmio => "vhost-user-fs-device",
            Transport::Pci => "vhost-user-fs-pci",
        };
        line.device(format!("{device},chardev=share,queue-size=1024,tag={}", doubled(&share.tag)));
    }
    for (index, nic) in (0..).zip(&config.nics) {
        network(index, nic, config.transport, line);
    }
}

fn board(config: &MachineConfig, line: &mut Line) {
    let accel = match config.accel {
        Accel::Kvm => "kvm",
        Accel::Tcg => "tcg",
    };
    let bus = match config.transport {
        Transport::Mmio => "acpi=off,pcie=off",
        // QEMU has this machine's PCI with ACPI alone. By default it adds a second I/O APIC then, with sixteen more
        // places for devices of the other bus. A kernel that finds ACPI leaves the old timer and interrupt controller
        // alone: the timer would run for ever, at 36 exits a second.
        Transport::Pci => "acpi=on,pcie=on,ioapic2=off,pit=off,pic=off",
    };
    line.option(
        "-machine",
        format!(
            "microvm,accel={accel},x-option-roms=off,isa-serial=on,rtc=on,{bus},usb=off,\
             mem-merge=off,dump-guest-core=off,memory-backend=ram"
        ),
    );
    match config.transport {
        // Virtio 1 and nothing older: QEMU's default for this bus is the draft.
        Transport::Mmio => line.option("-global", "virtio-mmio.force-legacy=false"),
        // What QEMU takes by itself without ACPI. With it, that would be SeaBIOS, which looks for something to boot.
        Transport::Pci => line.option("-bios", FIRMWARE),
    }
    // No nested virtualisation: its bugs are the host's.
    line.option(
        "-cpu",
        match config.accel {
            Accel::Kvm => "host,vmx=off,svm=off",
            // Without ERMS and FSRM the kernel copies by words, which are translated better than string instructions.
            Accel::Tcg => "max,vmx=off,svm=off,erms=off,fsrm=off",
        },
    );
    line.option("-smp", config.vcpus.to_string());
    line.option("-m", format!("{}M", config.memory_mib));
}

/// Shared, since the virtiofs daemon reads and writes guest memory itself, and what is left out of a saved state is
/// memory that is shared and has a name (`x-ignore-shared`). Huge pages are mapped as such only where the address is a
/// multiple of their size.
fn memory(config: &MachineConfig, line: &mut Line) {
    let (size, fd) = (config.memory_mib, fd::MEMORY);
    line.option(
        "-object",
        format!("memory-backend-file,id=ram,size={size}M,share=on,align=2M,mem-path=/proc/self/fd/{fd}"),
    );
}

/// Gives pages that the guest has free back to the host, a few seconds after it has them (free page reporting). It is
/// never asked for more.
fn balloon(transport: Transport, line: &mut Line) {
    let device = match transport {
        Transport::Mmio => "virtio-balloon-device",
        Transport::Pci => "virtio-balloon-pci,disable-legacy=on",
    };
    line.device(format!("{device},free-page-reporting=on"));
}

fn boot(config: &MachineConfig, line: &mut Line) {
    if let Start::BootToSave(_) | Start::Restore(_) = config.start {
        line.option("-add-fd", format!("fd={},set={STATE_SET}", fd::STATE));
    }
    if let Start::Restore(_) = config.start {
        // What was booted is in the memory. Held back until the memory is complete.
        line.option("-incoming", "defer");
        return;
    }
    line.option("-kernel", config.kernel.as_os_str().to_owned());
    line.option("-initrd", config.initrd.as_os_str().to_owned());
    line.option("-append", kernel_command_line(config));
}

fn kernel_command_line(config: &MachineConfig) -> String {
    let mut append = KERNEL_ARGS.to_owned();
    append.push_str(match config.accel {
        Accel::Kvm => KVM_KERNEL_ARGS,
        Accel::Tcg => TCG_KERNEL_ARGS,
    });
    if !config.kernel_args.is_empty() {
        append.push(' ');
        append.push_str(&config.kernel_args);
    }
    append
}

fn channel(config: &MachineConfig, line: &mut Line) {
    let port = doubled(&config.port_name);
    line.option("-chardev", format!("socket,id=agent,fd={}", fd::AGENT));
    // One port, and port 0, which the protocol keeps for a console.
    let device = match config.transport {
        Transport::Mmio => "virtio-serial-device",
        Transport::Pci => "virtio-serial-pci,disable-legacy=on",
    };
    line.device(format!("{device},max_ports=2"));
    line.device(format!("virtserialport,chardev=agent,name={port}"));
    balloon(config.transport, line);
}

fn chardevs(line: &mut Line) {
    line.option("-chardev", format!("socket,id=console,fd={}", fd::CONSOLE));
    line.option("-serial", "chardev:console");
    line.option("-chardev", format!("socket,id=qmp,fd={}", fd::QMP));
    line.option("-mon", "chardev=qmp,mode=control");
}

/// Only what a plain card with offloads needs: no filters, VLANs, announcements or queues beyond one pair.
fn network(index: i32, nic: &Nic, transport: Transport, line: &mut Line) {
    line.option("-netdev", format!("tap,id=net{index},fd={},vhost=off", fd::TAP + index));
    let mut mac = String::new();
    for (position, byte) in nic.mac.iter().enumerate() {
        let separator = if position == 0 { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(mac, "{separator}{byte:02x}");
    }
    let device = match transport {
        Transport::Mmio => "virtio-net-device",
        // Without a ROM to boot from, which each card would have in memory and in a saved state: 256 KiB.
        Transport::Pci => "virtio-net-pci,disable-legacy=on,romfile=",
    };
    line.device(format!(
        "{device},netdev=net{index},mac={mac},mq=off,rss=off,hash=off,ctrl_rx=off,ctrl_vlan=off,\
         ctrl_rx_extra=off,ctrl_guest_offloads=off,guest_announce=off"
    ));
}

/// Everything on the command line that a saved machine must find again, as a text to compare: not the machine's name,
/// nor how it starts, nor where its kernel lies.
#[must_use]
pub fn shape(config: &MachineConfig) -> String {
    let mut line = Line::default();
    board(config, &mut line);
    let mut text = line.text();
    text.push_str(&kernel_command_line(config));
    text.push('\n');
    let mut line = Line::default();
    channel(config, &mut line);
    chardevs(&mut line);
    devices(config, &mut line);
    text.push_str(&line.text());
    text
}

/// A command line under construction.
#[derive(Debug, Default)]
struct Line {
    arguments: Vec<OsString>,
}

impl Line {
    fn option(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.extend([name.into(), value.into()]);
    }

    fn device(&mut self, value: String) {
        self.option("-device", value);
    }

    fn flags(&mut self, names: &[&str]) {
        self.arguments.extend(names.iter().map(OsString::from));
    }

    /// One argument a line. Nothing that goes into [`shape`] is a path, so nothing is lost.
    fn text(&self) -> String {
        self.arguments.iter().fold(String::new(), |text, argument| text + &argument.to_string_lossy() + "\n")
    }
}

/// `text` as the value of one of several comma-separated properties.
fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests;
