// SPDX-License-Identifier: Apache-2.0
//! Runs the programs in an interpreter of the few instructions they are made of, against a plain reading of the rules.

use super::*;

/// What the kernel would answer; panics on anything its verifier would refuse.
fn run(program: &[u8], kind: i32, access: i32, major: u32, minor: u32) -> bool {
    if program.is_empty() {
        return true;
    }
    let context = [(access as u32) << 16 | kind as u32, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0;
    for _ in 0..1_000_000 {
        let code: [u8; 8] = program[at * 8..at * 8 + 8].try_into().unwrap();
        let (destination, source) = (usize::from(code[1] & 15), usize::from(code[1] >> 4));
        let offset = i16::from_ne_bytes([code[2], code[3]]);
        let immediate = i64::from(i32::from_ne_bytes([code[4], code[5], code[6], code[7]])) as u64;
        let value = registers[destination];
        at += 1;
        match code[0] {
            LDX_MEM_W => {
                assert_eq!(source, 1, "only the context is read");
                registers[destination] = Some(u64::from(context[usize::try_from(offset).unwrap() / 4]));
            }
            MOV64_REG => registers[destination] = Some(registers[source].unwrap()),
            MOV64_IMM => registers[destination] = Some(immediate),
            AND64_IMM => registers[destination] = Some(value.unwrap() & immediate),
            RSH64_IMM => registers[destination] = Some(value.unwrap() >> immediate),
            JEQ_IMM | JNE_IMM => {
                assert!(offset > 0, "only forward jumps");
                if (value.unwrap() == immediate) == (code[0] == JEQ_IMM) {
                    at += usize::try_from(offset).unwrap();
                }
            }
            EXIT => return registers[0].unwrap() == 1,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
    panic!("the program does not end");
}

/// The rules as the module's text has them.
fn plainly(rules: &[Rule], kind: i32, access: i32, major: u32, minor: u32) -> bool {
    let number = |wanted: Option<i32>, number: u32| wanted.is_none_or(|wanted| wanted as u32 == number);
    [DEVCG_MKNOD, DEVCG_READ, DEVCG_WRITE].iter().filter(|bit| access & *bit != 0).all(|bit| {
        let decides = |rule: &&Rule| {
            rule.kind.is_none_or(|wanted| wanted == kind)
                && number(rule.major, major)
                && number(rule.minor, minor)
                && rule.access & bit != 0
        };
        rules.iter().rev().find(decides).is_some_and(|rule| rule.allow)
    })
}

fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn without_rules_only_a_containers_own_devices_are_allowed() {
    let program = compile(None).unwrap();
    assert!(run(&program, DEVCG_CHAR, DEVCG_READ | DEVCG_WRITE, 1, 3));
    assert!(run(&program, DEVCG_CHAR, DEVCG_WRITE, 136, 7));
    assert!(run(&program, DEVCG_BLOCK, DEVCG_MKNOD, 8, 0));
    assert!(!run(&program, DEVCG_BLOCK, DEVCG_READ, 8, 0));
    assert!(!run(&program, DEVCG_CHAR, DEVCG_READ, 10, 229));
    assert!(!run(&program, DEVCG_BLOCK, DEVCG_READ, 1, 3));
}

#[test]
fn privileged_needs_no_program() {
    assert!(
        compile(Some(&rules(r#"[{"allow":false,"access":"rwm"},{"allow":true,"access":"rwm"}]"#)))
            .unwrap()
            .is_empty()
    );
    let not_quite = r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"w"}]"#;
    let program = compile(Some(&rules(not_quite))).unwrap();
    assert!(run(&program, DEVCG_BLOCK, DEVCG_READ, 8, 1));
    assert!(!run(&program, DEVCG_BLOCK, DEVCG_READ | DEVCG_WRITE, 8, 1));
    assert!(run(&program, DEVCG_CHAR, DEVCG_ALL, 195, 0));
}

#[test]
fn a_later_rule_overrides_for_its_kinds_of_access_only() {
    let json = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
                   {"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#;
    let program = compile(Some(&rules(json))).unwrap();
    assert!(run(&program, DEVCG_CHAR, DEVCG_READ, 10, 229));
    assert!(!run(&program, DEVCG_CHAR, DEVCG_WRITE, 10, 229));
    assert!(!run(&program, DEVCG_CHAR, DEVCG_READ | DEVCG_WRITE, 10, 229));
}

#[test]
fn rules_on_separate_accesses_add_up() {
    let json = r#"[{"allow":true,"type":"c","major":42,"access":"r"},{"allow":true,"type":"c","major":42,"access":"w"}]"#;
    let program = compile(Some(&rules(json))).unwrap();
    assert!(run(&program, DEVCG_CHAR, DEVCG_READ | DEVCG_WRITE, 42, 9));
    assert!(!run(&program, DEVCG_CHAR, DEVCG_READ, 43, 9));
}

#[test]
fn rules_that_a_later_one_covers_cost_nothing() {
    let once = r#"[{"allow":true,"type":"c","major":42,"access":"rw"}]"#;
    let twice = r#"[{"allow":true,"type":"c","major":42,"minor":1,"access":"r"},
                    {"allow":true,"type":"c","major":42,"access":"rw"},{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#;
    assert_eq!(compile(Some(&rules(twice))).unwrap(), compile(Some(&rules(once))).unwrap());
}

#[test]
fn broken_rules_are_refused() {
    for json in [
        r#"[{"allow":true,"type":"p","access":"r"}]"#,
        r#"[{"allow":true,"type":"c","major":-2,"access":"r"}]"#,
        r#"[{"allow":true,"type":"c","major":4294967296,"access":"r"}]"#,
        r#"[{"allow":true,"type":"c","access":"x"}]"#,
    ] {
        assert!(compile(Some(&rules(json))).is_err(), "{json}");
    }
}

#[test]
fn programs_agree_with_a_plain_reading_of_any_rules() {
    let mut seed = 1_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for _ in 0..300 {
        let count = random(7);
        let list: Vec<Rule> = (0..count)
            .map(|_| Rule {
                allow: random(2) == 0,
                kind: [None, Some(DEVCG_BLOCK), Some(DEVCG_CHAR)][random(3) as usize],
                major: [None, Some(1), Some(2)][random(3) as usize],
                minor: [None, Some(1), Some(2)][random(3) as usize],
                access: i32::try_from(random(7)).unwrap() + 1,
            })
            .collect();
        let program = assemble(&list);
        for kind in [DEVCG_BLOCK, DEVCG_CHAR] {
            for access in 1..=7 {
                for (major, minor) in [(1, 1), (1, 2), (2, 1), (3, 3)] {
                    let expected = plainly(&list, kind, access, major, minor);
                    assert_eq!(run(&program, kind, access, major, minor), expected, "{list:?}");
                }
            }
        }
    }
}

#[test]
fn engines_that_ask_for_nothing_get_the_usual_program() {
    let docker = r#"[{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
        {"allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
        {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]"#;
    let containerd = r#"[{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 136, "access": "rwm"},
        {"allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm"}]"#;
    for json in [docker, containerd] {
        assert_eq!(compile(Some(&rules(json))).unwrap(), usual());
    }
    let fuse = r#"[{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]"#;
    assert_ne!(compile(Some(&rules(fuse))).unwrap(), usual());
}
