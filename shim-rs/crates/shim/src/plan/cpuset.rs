// SPDX-License-Identifier: Apache-2.0
//! `--cpuset-cpus` as a set of the machine's CPUs. The machine has as many as the host, so a number names the same one
//! in both; where it has fewer, a set is as many of them.

use boxlite_protocol::plan::CgroupFile;
use oci_spec::runtime::LinuxResources;

use super::refusal::Refusal;

/// The cgroup's file for a machine with so many CPUs, if a set was asked for.
pub(super) fn compile(resources: Option<&LinuxResources>, vcpus: u32) -> Result<Option<CgroupFile>, Refusal> {
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    let Some(set) = cpu.and_then(|cpu| cpu.cpus().as_deref()).filter(|set| !set.trim().is_empty()) else {
        return Ok(None);
    };
    let asked = Asked::read(set)
        .ok_or_else(|| Refusal::invalid("linux.resources.cpu.cpus", format!("{set:?} is no list of CPUs")))?;
    let value = match asked {
        Asked { last, .. } if last < vcpus => set.trim().to_owned(),
        Asked { count, .. } => format!("0-{}", count.min(vcpus.into()).max(1) - 1),
    };
    Ok(Some(CgroupFile { name: "cpuset.cpus".to_owned(), value, ..CgroupFile::default() }))
}

/// What a list such as "0-2,7" names.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// How many CPUs.
    count: u64,
    /// The highest of them.
    last: u32,
}

impl Asked {
    fn read(set: &str) -> Option<Self> {
        set.trim().split(',').try_fold(Self { count: 0, last: 0 }, |sum, part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
            let count = u64::from(last.checked_sub(first)?) + 1;
            Some(Self { count: sum.count + count, last: sum.last.max(last) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(set: &str, vcpus: u32) -> Result<Option<String>, Refusal> {
        let json = serde_json::json!({ "cpu": { "cpus": set } });
        let resources: LinuxResources = serde_json::from_value(json).unwrap();
        compile(Some(&resources), vcpus).map(|file| file.map(|file| file.value))
    }

    #[test]
    fn numbers_that_the_machine_has_are_its_own() {
        for (asked, vcpus) in [("0", 1), ("1", 2), ("0-2,3", 4)] {
            assert_eq!(set(asked, vcpus), Ok(Some(asked.to_owned())));
        }
        assert_eq!(set("", 2), Ok(None));
        assert_eq!(compile(None, 2), Ok(None));
    }

    #[test]
    fn of_others_it_has_as_many() {
        for (asked, vcpus, given) in [("6,7", 4, "0-1"), ("5", 1, "0-0"), ("0-4294967295", 4, "0-3")] {
            assert_eq!(set(asked, vcpus), Ok(Some(given.to_owned())), "{asked}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in ["x", "2-1", "1,,2", "-", "0-4294967296"] {
            assert!(set(wrong, 4).is_err(), "{wrong}");
        }
    }
}
