// SPDX-License-Identifier: Apache-2.0
//! What has to be known of the host: its size and the files of volumes for the plan, read once per Create; its kernel and
//! processor for whoever keeps something that holds on this host alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{FileType, Stat, major, minor};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::plan::{FileKind, SocketFacts};

/// The host's memory in MiB; 0 when it cannot be read, which the plan takes as unknown.
#[must_use]
pub(crate) fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kib_of(&text, "MemTotal:").unwrap_or(0) / 1024
}

/// The most that may be committed, where the host is told to commit no more.
pub(crate) fn commit_limit_kib() -> Option<u64> {
    kib_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "CommitLimit:")
}

fn kib_of(meminfo: &str, name: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    rest.trim().strip_suffix(" kB")?.parse().ok()
}

/// Processors the shim may use.
#[must_use]
pub(crate) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// The processor's description is read up to here; it is on the first of many equal entries.
const CPUINFO: u64 = 16 << 10;
/// What of the processor matters. Not its clock rate, which changes as it runs.
const CPU_FIELDS: [&str; 7] =
    ["vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags"];

/// The release of the kernel that runs.
pub(crate) fn kernel() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim_end().to_owned())
}

/// The processor, its microcode and what the kernel uses of it, a line for each: `cpu NAME: VALUE`.
pub(crate) fn processor() -> io::Result<String> {
    let mut bytes = Vec::new();
    // Not all of it: there are as many entries as processors.
    File::open("/proc/cpuinfo")?.take(CPUINFO).read_to_end(&mut bytes)?;
    Ok(cpu_of(&String::from_utf8_lossy(&bytes)))
}

fn cpu_of(cpuinfo: &str) -> String {
    let first = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let fields =
        first.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
    fields
        .filter(|(name, _)| CPU_FIELDS.contains(name))
        .fold(String::new(), |text, (name, value)| format!("{text}cpu {name}: {value}\n"))
}

/// What lies at a path of the host's; none when nothing does.
#[must_use]
pub(crate) fn kind_of(path: &Path) -> Option<FileKind> {
    let stat = rustix::fs::stat(path).ok()?;
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Socket => FileKind::Socket(socket_facts(path, &stat)),
        FileType::Fifo => FileKind::Fifo,
        FileType::BlockDevice => FileKind::Block,
        FileType::CharacterDevice => {
            FileKind::Char { major: major(stat.st_rdev), minor: minor(stat.st_rdev) }
        }
        _ => FileKind::File,
    })
}

/// Where engines are asked for containers: who may, is root. More of them are known by their names.
const ENGINES: [&str; 6] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock.ttrpc",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
];

fn socket_facts(path: &Path, stat: &Stat) -> SocketFacts {
    SocketFacts {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        takes_connections: takes_connections(path),
        engine: is_engine(path, stat),
    }
}

/// Asked as a sender of datagrams would, which no service notices. A socket nobody listens at may be either kind.
fn takes_connections(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(asking) = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None) else {
        return true;
    };
    let Ok(address) = SocketAddrUnix::new(path) else { return true };
    matches!(rustix::net::connect(&asking, &address), Err(Errno::PROTOTYPE | Errno::CONNREFUSED))
}

/// By name wherever it is, and by identity whatever it is called.
fn is_engine(path: &Path, stat: &Stat) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let same_name = |known: &str| Path::new(known).file_name() == real.file_name();
    let same_file = |known: &str| {
        rustix::fs::stat(known).is_ok_and(|it| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino))
    };
    ENGINES.iter().any(|known| same_name(known) || same_file(known))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn socket(path: &Path) -> SocketFacts {
        let Some(FileKind::Socket(facts)) = kind_of(path) else { panic!("not a socket") };
        facts
    }

    #[test]
    fn the_processor_is_the_first_entry_without_what_changes() {
        let entry = "processor\t: 0\nvendor_id\t: V\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: N 2: x\nstepping\t: 1\n\
                     microcode\t: 0x1\ncpu MHz\t\t: 2445.404\nflags\t\t: fpu vme\nbogomips\t: 4890\n";
        let text = format!("{entry}\n{}", entry.replace(": 0x1", ": 0x2"));
        assert_eq!(
            cpu_of(&text),
            "cpu vendor_id: V\ncpu cpu family: 25\ncpu model: 1\ncpu model name: N 2: x\ncpu stepping: 1\n\
             cpu microcode: 0x1\ncpu flags: fpu vme\n"
        );
    }

    #[test]
    fn sockets_are_told_apart_by_what_they_take() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let _stream = UnixListener::bind(at("stream")).unwrap();
        let datagram = UnixDatagram::bind(at("datagram")).unwrap();
        assert!(socket(&at("stream")).takes_connections);
        assert!(!socket(&at("datagram")).takes_connections);
        datagram.set_nonblocking(true).unwrap();
        assert!(datagram.recv(&mut [0; 1]).is_err(), "asking sends nothing");
        drop(datagram);
        assert!(socket(&at("datagram")).takes_connections, "nobody listens: either");
    }

    #[test]
    fn an_engines_socket_is_known_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker.sock");
        let _engine = UnixListener::bind(&path).unwrap();
        std::os::unix::fs::symlink(&path, directory.path().join("harmless")).unwrap();
        assert!(socket(&path).engine);
        assert!(socket(&directory.path().join("harmless")).engine);
        let _other = UnixListener::bind(directory.path().join("other.sock")).unwrap();
        assert!(!socket(&directory.path().join("other.sock")).engine);
    }
}
