// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::plan::{MachineDefaults, annotations};

/// A host with 4 GiB and four CPUs.
const HOST: HostFacts<'static> = HostFacts {
    memory_mib: 4096,
    cpus: 4,
    defaults: MachineDefaults { memory_mib: 512, vcpus: 1 },
    kind_of: &|_| None,
    engine_sockets: false,
    rootfs_mounts: false,
};

fn size(resources: &str, memory: Option<u32>, vcpus: Option<u32>) -> Result<(u32, u32), Refusal> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let mut annotations = annotations::read(None, &mut Vec::new()).unwrap();
    (annotations.memory_mib, annotations.vcpus) = (memory, vcpus);
    compile(Some(&resources), &annotations, &HOST).map(|size| (size.memory_mib, size.vcpus))
}

fn limit_mib(mib: u64) -> String {
    format!(r#"{{"memory":{{"limit":{}}}}}"#, mib * MIB)
}

#[test]
fn without_limits_the_defaults_hold() {
    assert_eq!(size("{}", None, None), Ok((512, 1)));
    assert_eq!(size(r#"{"memory":{"limit":-1},"cpu":{"quota":-1}}"#, None, None), Ok((512, 1)));
}

#[test]
fn memory_is_the_limit_and_what_the_guest_takes() {
    for (limit, machine) in [(1, 128), (64, 128), (128, 192), (512, 576), (1024, 1152), (4096, 4096)] {
        assert_eq!(size(&limit_mib(limit), None, None), Ok((machine, 1)), "{limit} MiB");
    }
}

#[test]
fn more_than_the_host_has_is_refused_with_both_numbers() {
    let words = size(&limit_mib(8192), None, None).unwrap_err().to_string();
    assert!(words.contains("8192") && words.contains("4096"), "{words}");
    assert!(size("{}", Some(8192), None).is_err());
    assert!(size(&format!(r#"{{"memory":{{"limit":{}}}}}"#, i64::MAX), None, None).is_err());
}

#[test]
fn annotation_sets_the_size_but_never_below_the_limit() {
    assert_eq!(size("{}", Some(256), Some(3)), Ok((256, 3)));
    assert_eq!(size("{}", Some(16), None), Ok((128, 1)));
    assert_eq!(size(&limit_mib(64), Some(1024), None), Ok((1024, 1)));
    assert!(size(&limit_mib(512), Some(256), None).is_err());
}

#[test]
fn vcpus_follow_quota_and_set_within_the_host() {
    for (cpu, vcpus) in [
        (r#"{"quota":50000,"period":100000}"#, 1),
        (r#"{"quota":150000,"period":100000}"#, 2),
        (r#"{"quota":300000}"#, 3),
        (r#"{"quota":9900000,"period":100000}"#, 4),
        (r#"{"cpus":"0,1"}"#, 2),
        (r#"{"cpus":"0-2"}"#, 3),
        (r#"{"cpus":"5","quota":300000}"#, 1),
        (r#"{"cpus":"0-4294967295"}"#, 4),
    ] {
        assert_eq!(size(&format!(r#"{{"cpu":{cpu}}}"#), None, None), Ok((512, vcpus)), "{cpu}");
    }
    assert_eq!(size("{}", None, Some(64)), Ok((512, 4)));
    for set in ["x", "2-1", "1,,2", "-"] {
        assert!(size(&format!(r#"{{"cpu":{{"cpus":"{set}"}}}}"#), None, None).is_err(), "{set}");
    }
}

fn pod(memory: i64, cpu_quota: i64) -> (u32, u32) {
    let mut annotations = annotations::read(None, &mut Vec::new()).unwrap();
    annotations.role = Role::Sandbox;
    annotations.pod = annotations::PodLimits { memory, cpu_quota, cpu_period: 100_000 };
    let own = serde_json::from_str(r#"{"memory":{"limit":1048576}}"#).unwrap();
    compile(Some(&own), &annotations, &HOST).map(|size| (size.memory_mib, size.vcpus)).unwrap()
}

#[test]
fn machine_of_a_pod_has_room_for_all_its_containers() {
    assert_eq!(pod(0, 0), (512, 1));
    assert_eq!(pod(64 << 20, -1), (512, 1));
    assert_eq!(pod(1 << 30, 250_000), (1152, 3));
}
