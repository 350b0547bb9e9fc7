// SPDX-License-Identifier: Apache-2.0
//! Runs the compiled filters in an interpreter of classic BPF, as the kernel would for each system call.

use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

fn run(program: &[u8], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    data.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
    let mut accumulator = 0_u32;
    let mut at = 0;
    loop {
        let code: [u8; 8] = program[at * 8..at * 8 + 8].try_into().unwrap();
        let value = u32::from_ne_bytes([code[4], code[5], code[6], code[7]]);
        at += 1;
        let taken = match u16::from_ne_bytes([code[0], code[1]]) {
            0x20 => {
                let offset = value as usize;
                accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
                continue;
            }
            0x54 => {
                accumulator &= value;
                continue;
            }
            0x05 => {
                at += value as usize;
                continue;
            }
            0x06 => return value,
            0x15 => accumulator == value,
            0x25 => accumulator > value,
            0x35 => accumulator >= value,
            0x45 => accumulator & value != 0,
            other => panic!("unknown instruction {other:#x}"),
        };
        at += usize::from(if taken { code[2] } else { code[3] });
    }
}

fn filter(json: &str) -> Result<Filter, Refusal> {
    compile(&serde_json::from_str(json).unwrap())
}

fn number(name: &str, arch: ScmpArch) -> u32 {
    u32::try_from(ScmpSyscall::from_name_by_arch(name, arch).unwrap().as_raw_syscall()).unwrap()
}

fn call(program: &[u8], name: &str, args: [u64; 6]) -> u32 {
    run(program, X86_64, number(name, ScmpArch::X8664), args)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn actions_and_errnos_are_the_profiles() {
    let program = filter(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,"syscalls":[
            {"names":["read","no_such_call","openat2"],"action":"SCMP_ACT_ALLOW"},
            {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
            {"names":["reboot"],"action":"SCMP_ACT_KILL_PROCESS"},
            {"names":["write"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
    )
    .unwrap()
    .program;
    assert_eq!(call(&program, "read", [0; 6]), ALLOW);
    assert_eq!(call(&program, "clone3", [0; 6]), ERRNO | 38);
    assert_eq!(call(&program, "reboot", [0; 6]), 0x8000_0000);
    assert_eq!(call(&program, "write", [0; 6]), ERRNO | 13);
    assert_eq!(call(&program, "mount", [0; 6]), ERRNO | 13);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_younger_than_the_profile_do_not_exist() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
        "syscalls":[{"names":["read","openat2"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let program = filter(json).unwrap().program;
    let youngest = number("openat2", ScmpArch::X8664);
    assert_eq!(run(&program, X86_64, youngest, [0; 6]), ALLOW);
    assert_eq!(run(&program, X86_64, youngest + 1, [0; 6]), ERRNO | 38);
    assert_eq!(run(&program, X86_64, youngest - 1, [0; 6]), ERRNO | 1);
    assert_eq!(run(&program, X86_64, 1 << 30 | youngest, [0; 6]), ERRNO | 38, "the guest has no x32");
    assert_eq!(run(&program, I386, number("openat2", ScmpArch::X86), [0; 6]), ALLOW);
    assert_eq!(run(&program, I386, 5000, [0; 6]), ERRNO | 38);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_the_profile_does_not_cover_is_killed() {
    let json =
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;
    let program = filter(json).unwrap().program;
    assert_eq!(run(&program, I386, 3, [0; 6]), 0);
    assert_eq!(run(&program, X86_64, 1 << 30, [0; 6]), 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn permissive_profiles_let_younger_calls_through() {
    let json =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}"#;
    let program = filter(json).unwrap().program;
    assert_eq!(run(&program, X86_64, 0, [0; 6]), ERRNO | 1);
    assert_eq!(run(&program, X86_64, 500, [0; 6]), ALLOW);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_call_of_dockers_profile_is_decided_as_by_one_program_for_all_architectures() {
    let spec =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plan/specs/docker-default.json")).unwrap();
    let spec = crate::plan::parse(&spec).unwrap();
    let profile = spec.linux().as_ref().unwrap().seccomp().as_ref().unwrap();
    let joined = compile(profile).unwrap().program;
    let default = action(profile.default_action(), profile.default_errno_ret()).unwrap();
    let mut together = ScmpFilterContext::new(default).unwrap();
    together.add_arch(ScmpArch::X86).unwrap();
    for call in profile.syscalls().iter().flatten() {
        add(&mut together, call, default).unwrap();
    }
    let together = export(&together).unwrap();
    for (arch, scmp) in [(X86_64, ScmpArch::X8664), (I386, ScmpArch::X86)] {
        for number in 0..=largest(profile, scmp).unwrap() {
            for first in [0, 8, 40, 0x1000_0000, u64::MAX] {
                let args = [first, 0, 0, 0, 0, 0];
                let decided = run(&joined, arch, number, args);
                assert_eq!(decided, run(&together, arch, number, args), "{scmp:?} {number} {first:#x}");
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn arguments_are_compared() {
    let program = filter(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[
                {"index":0,"value":0,"op":"SCMP_CMP_EQ"},{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
                {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[
                {"index":0,"value":40,"op":"SCMP_CMP_NE"},{"index":1,"value":3,"op":"SCMP_CMP_LT"}]}]}"#,
    )
    .unwrap()
    .program;
    assert_eq!(call(&program, "personality", [8, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(&program, "personality", [9, 0, 0, 0, 0, 0]), ERRNO | 1);
    assert_eq!(call(&program, "clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(&program, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), ERRNO | 1);
    assert_eq!(call(&program, "socket", [2, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(call(&program, "socket", [40, 1, 0, 0, 0, 0]), ERRNO | 1);
    assert_eq!(call(&program, "socket", [2, 3, 0, 0, 0, 0]), ERRNO | 1);
}

#[test]
fn flags_are_the_kernels() {
    let flags =
        |flags: &str| filter(&format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW"{flags}}}"#)).unwrap().flags;
    assert_eq!(flags(""), FILTER_FLAG_SPEC_ALLOW);
    assert_eq!(flags(r#","flags":[]"#), 0);
    assert_eq!(flags(r#","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"]"#), 3);
}

#[test]
fn listeners_and_nonsense_are_refused() {
    for json in [
        r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x.sock"}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","errnoRet":70000}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_MIPS"]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
            "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
    ] {
        assert!(filter(json).is_err(), "{json}");
    }
}
