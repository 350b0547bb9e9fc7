// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::plan::annotations;

/// A host with somewhat less than 4 GiB, and four CPUs.
const HOST: HostFacts<'static> = HostFacts {
    memory_mib: 3900,
    cpus: 4,
    limits: &[],
    defaults: MachineDefaults { memory_mib: None, vcpus: None },
    kind_of: &|_| None,
    engine_sockets: false,
    rootfs_mounts: false,
};

fn compiled(resources: &str, memory: Option<u32>, vcpus: Option<u32>) -> Result<MachineSize, Refusal> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let mut annotations = annotations::read(None, &mut Vec::new()).unwrap();
    (annotations.memory_mib, annotations.vcpus) = (memory, vcpus);
    compile(Some(&resources), &annotations, &HOST)
}

fn size(resources: &str, memory: Option<u32>, vcpus: Option<u32>) -> Result<(u32, u32), Refusal> {
    compiled(resources, memory, vcpus).map(|size| (size.memory_mib, size.vcpus))
}

fn limit_mib(mib: u64) -> String {
    format!(r#"{{"memory":{{"limit":{}}}}}"#, mib * MIB)
}

#[test]
fn without_limits_a_machine_is_as_large_as_the_host() {
    let whole = MachineSize { memory_mib: 3900, room_mib: 4096, vcpus: 4 };
    assert_eq!(compiled("{}", None, None), Ok(whole));
    assert_eq!(compiled(r#"{"memory":{"limit":-1},"cpu":{"quota":-1}}"#, None, None), Ok(whole));
}

#[test]
fn the_configuration_bounds_what_has_no_limit() {
    let defaults = MachineDefaults { memory_mib: Some(1500), vcpus: Some(2) };
    assert_eq!(usual(defaults, 3900, 4), MachineSize { memory_mib: 1500, room_mib: 2048, vcpus: 2 });
    assert_eq!(usual(MachineDefaults { memory_mib: Some(1), vcpus: Some(9) }, 3900, 4).vcpus, 4);
    assert_eq!(usual(MachineDefaults { memory_mib: None, vcpus: None }, 0, 0).room_mib, 2048);
    let bounded = HostFacts { defaults, ..HOST };
    let annotations = annotations::read(None, &mut Vec::new()).unwrap();
    let large = serde_json::from_str(&limit_mib(3000)).unwrap();
    let size = compile(Some(&large), &annotations, &bounded).unwrap();
    assert_eq!((size.memory_mib, size.room_mib), (3200, 4096), "a limit above the bound has its own room");
}

#[test]
fn a_machine_may_take_the_limit_and_what_the_guest_takes() {
    for (limit, machine) in
        [(1, 512), (64, 512), (128, 512), (400, 512), (512, 576), (1024, 1152), (3900, 4096)]
    {
        let size = compiled(&limit_mib(limit), None, None).unwrap();
        assert_eq!((size.memory_mib, size.room_mib, size.vcpus), (machine, 4096, 4), "{limit} MiB");
    }
}

#[test]
fn a_limit_above_the_host_is_accepted_and_leads_no_further() {
    assert_eq!(size(&limit_mib(8192), None, None), Ok((4096, 4)));
    assert_eq!(size(&format!(r#"{{"memory":{{"limit":{}}}}}"#, i64::MAX), None, None), Ok((4096, 4)));
}

#[test]
fn a_new_limit_moves_what_may_be_taken() {
    let defaults = MachineDefaults { memory_mib: None, vcpus: None };
    assert_eq!(for_limit(1 << 30, defaults, 3900), 1152);
    assert_eq!(for_limit(-1, defaults, 3900), 3900);
}

#[test]
fn annotation_sets_the_size_but_never_below_the_limit() {
    assert_eq!(size("{}", Some(256), Some(3)), Ok((256, 3)));
    assert_eq!(size("{}", Some(16), None), Ok((128, 4)));
    assert_eq!(size(&limit_mib(64), Some(1024), None), Ok((1024, 4)));
    assert_eq!(size("{}", None, Some(64)), Ok((3900, 4)));
    assert!(size(&limit_mib(512), Some(256), None).is_err());
    let words = size("{}", Some(8192), None).unwrap_err().to_string();
    assert!(words.contains("8192") && words.contains("3900"), "{words}");
}

#[test]
fn quotas_and_sets_leave_the_cpus_alone() {
    for cpu in [r#"{"quota":50000,"period":100000}"#, r#"{"cpus":"0"}"#] {
        assert_eq!(size(&format!(r#"{{"cpu":{cpu}}}"#), None, None), Ok((3900, 4)), "{cpu}");
    }
}

fn pod(memory: i64) -> u32 {
    let mut annotations = annotations::read(None, &mut Vec::new()).unwrap();
    annotations.role = Role::Sandbox;
    annotations.pod = annotations::PodLimits { memory };
    let own = serde_json::from_str(r#"{"memory":{"limit":1048576}}"#).unwrap();
    compile(Some(&own), &annotations, &HOST).unwrap().memory_mib
}

#[test]
fn machine_of_a_pod_has_room_for_all_its_containers() {
    assert_eq!(pod(0), 3900);
    assert_eq!(pod(64 << 20), 3900);
}
