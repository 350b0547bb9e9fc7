// SPDX-License-Identifier: Apache-2.0
use super::*;

fn files(json: &str) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let resources: LinuxResources = serde_json::from_str(json).unwrap();
    let mut warnings = Vec::new();
    let files = compile(&resources, &mut warnings)?;
    Ok((files.iter().map(|file| format!("{}={}", file.name, file.value)).collect(), warnings))
}

#[test]
fn limits_of_v1_become_files_of_v2() {
    let (files, warnings) = files(
        r#"{"memory":{"limit":67108864,"reservation":33554432,"swap":134217728},
            "cpu":{"shares":1024,"quota":150000,"period":100000},"pids":{"limit":100}}"#,
    )
    .unwrap();
    assert_eq!(
        files,
        [
            "memory.low=33554432",
            "memory.max=67108864",
            "memory.swap.max=67108864",
            "cpu.weight=39",
            "cpu.max=150000 100000",
            "pids.max=100"
        ]
    );
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn only_what_is_set_is_written() {
    let nothing =
        r#"{"memory":{"disableOOMKiller":false},"cpu":{"shares":0},"pids":{"limit":0},"blockIO":{}}"#;
    assert_eq!(files(nothing).unwrap(), (vec![], vec![]));
    assert_eq!(files("{}").unwrap(), (vec![], vec![]));
    let quota = LinuxResources::default();
    assert!(compile_resources(&quota).unwrap().is_empty());
}

#[test]
fn no_limit_is_max() {
    let unlimited = r#"{"memory":{"limit":-1},"cpu":{"quota":-1,"period":50000},"pids":{"limit":-1}}"#;
    assert_eq!(files(unlimited).unwrap().0, ["memory.max=max", "cpu.max=max 50000", "pids.max=max"]);
    assert_eq!(files(r#"{"cpu":{"quota":50000}}"#).unwrap().0, ["cpu.max=50000 100000"]);
}

#[test]
fn weight_spans_the_whole_range() {
    assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 39, 10_000, 10_000]);
}

#[test]
fn what_names_things_of_the_host_is_warned_about() {
    let (files, warnings) = files(
        r#"{"cpu":{"cpus":"0,1","mems":"0"},"blockIO":{"weight":300},"memory":{"disableOOMKiller":true},
            "hugepageLimits":[{"pageSize":"1GB","limit":1},{"pageSize":"1GB","limit":0},{"pageSize":"2MB","limit":0}],
            "unified":{"io.max":"8:0 rbps=1"}}"#,
    )
    .unwrap();
    assert_eq!(files, ["hugetlb.2MB.max=0"]);
    assert_eq!(warnings.len(), 5, "{warnings:?}");
}

#[test]
fn unified_values_come_last_and_win() {
    let (files, _) = files(
        r#"{"memory":{"limit":1048576},"unified":{"memory.max":"2097152","cpu.max":"max 100000","memory.high":"max"}}"#,
    )
    .unwrap();
    assert_eq!(files, ["cpu.max=max 100000", "memory.high=max", "memory.max=2097152"]);
}

#[test]
fn values_no_kernel_takes_are_refused() {
    for json in [
        r#"{"memory":{"limit":100,"swap":50}}"#,
        r#"{"cpu":{"quota":10,"period":100000}}"#,
        r#"{"cpu":{"quota":5000,"period":10}}"#,
        r#"{"hugepageLimits":[{"pageSize":"../x","limit":0}]}"#,
        r#"{"unified":{"../memory.max":"1"}}"#,
        r#"{"unified":{"memory.max":"1\n2"}}"#,
    ] {
        assert!(files(json).is_err(), "{json}");
    }
}
