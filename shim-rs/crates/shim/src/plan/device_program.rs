// SPDX-License-Identifier: Apache-2.0
//! `linux.resources.devices` as a program of type BPF_PROG_TYPE_CGROUP_DEVICE: the rules of cgroup v1, which engines
//! still write, for the guest's cgroup v2.
//!
//! For each kind of access asked for (read, write, mknod) the last rule that matches the device and speaks of it
//! decides; without one it is denied. The program walks the rules from the last to the first and keeps in r3 the kinds
//! not yet decided: an allowing rule takes its kinds out and ends with yes when none is left, a denying one ends with
//! no when one of its kinds is left. Engines repeat themselves: a rule that decides nothing is left out.

use boxlite_linux::bpf::Instruction;
use boxlite_linux::bpf::extended::{
    AND64_IMM, EXIT, JEQ_IMM, JNE_IMM, LDX_MEM_W, MOV64_IMM, MOV64_REG, RSH64_IMM, instruction,
};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType as Type};

use super::refusal::Refusal;

/// Most rules of one container: they grow the program, which the kernel limits to a million steps and the message to
/// a few megabytes; a host has a few hundred devices.
const MAX_RULES: usize = 4096;

// linux/bpf.h
const DEVCG_MKNOD: i32 = 1;
const DEVCG_READ: i32 = 2;
const DEVCG_WRITE: i32 = 4;
const DEVCG_ALL: i32 = 7;
const DEVCG_BLOCK: i32 = 1;
const DEVCG_CHAR: i32 = 2;

/// Devices each container may use, whatever its rules say: its own nodes and terminals, and mknod of anything, which
/// is a matter of CAP_MKNOD (the list is runc's).
const ALWAYS: &[Rule] = &[
    Rule::always(Some(DEVCG_CHAR), None, None, DEVCG_MKNOD),
    Rule::always(Some(DEVCG_BLOCK), None, None, DEVCG_MKNOD),
    Rule::always(Some(DEVCG_CHAR), Some(1), Some(3), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(1), Some(8), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(1), Some(7), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(5), Some(0), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(1), Some(5), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(1), Some(9), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(136), None, DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(5), Some(2), DEVCG_ALL),
    Rule::always(Some(DEVCG_CHAR), Some(5), Some(1), DEVCG_ALL),
];

/// One rule; `None` matches any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

impl Rule {
    const fn always(kind: Option<i32>, major: Option<i32>, minor: Option<i32>, access: i32) -> Self {
        Self { allow: true, kind, major, minor, access }
    }

    /// Where this rule decides something, `later` has decided it already.
    fn is_shadowed_by(&self, later: &Self) -> bool {
        let covers = |later: Option<i32>, own: Option<i32>| later.is_none() || later == own;
        covers(later.kind, self.kind)
            && covers(later.major, self.major)
            && covers(later.minor, self.minor)
            && self.access & !later.access == 0
    }

    /// It decides over everything: no earlier rule matters.
    fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == DEVCG_ALL
    }
}

/// The program for these rules; empty when everything is allowed.
pub(super) fn compile(rules: Option<&Vec<LinuxDeviceCgroup>>) -> Result<Vec<u8>, Refusal> {
    let rules = rules.map_or(&[][..], Vec::as_slice);
    if rules.len() > MAX_RULES {
        return Err(Refusal::invalid("linux.resources.devices", format!("more than {MAX_RULES}")));
    }
    let mut parsed = rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    if parsed.iter().rfind(|rule| rule.is_total()).is_some_and(|rule| rule.allow)
        && !parsed.iter().rev().take_while(|rule| !rule.is_total()).any(|rule| !rule.allow)
    {
        return Ok(Vec::new());
    }
    parsed.extend(ALWAYS);
    Ok(assemble(&parsed))
}

/// The program of a container that asks for no device and is not privileged: templates have it ready.
pub(crate) fn usual() -> Vec<u8> {
    assemble(ALWAYS)
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, Refusal> {
    let field = || format!("linux.resources.devices[{rule}]");
    let kind = match rule.typ() {
        None | Some(Type::A) => None,
        Some(Type::B) => Some(DEVCG_BLOCK),
        Some(Type::C | Type::U) => Some(DEVCG_CHAR),
        Some(Type::P) => return Err(Refusal::invalid(field(), "a pipe is no device")),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => match i32::try_from(number) {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Refusal::invalid(field(), "is out of range")),
        },
    };
    // A rule on all types speaks of all devices, whatever numbers stand beside it (cgroup v1).
    let (major, minor) = match kind {
        None => (None, None),
        Some(_) => (number(rule.major())?, number(rule.minor())?),
    };
    let mut access = 0;
    for letter in rule.access().as_deref().unwrap_or("").chars() {
        access |= match letter {
            'r' => DEVCG_READ,
            'w' => DEVCG_WRITE,
            'm' => DEVCG_MKNOD,
            _ => return Err(Refusal::invalid(field(), "access is made of r, w and m")),
        };
    }
    // As in cgroup v1, "a" and no letters mean all of them.
    let access = if access == 0 { DEVCG_ALL } else { access };
    Ok(Rule { allow: rule.allow(), kind, major, minor, access })
}

fn assemble(rules: &[Rule]) -> Vec<u8> {
    // r1 is struct bpf_cgroup_dev_ctx: type and access in one word, major, minor.
    let mut program = vec![
        instruction(LDX_MEM_W, 2, 1, 0, 0),
        instruction(MOV64_REG, 3, 2, 0, 0),
        instruction(AND64_IMM, 2, 0, 0, 0xffff),
        instruction(RSH64_IMM, 3, 0, 0, 16),
        instruction(LDX_MEM_W, 4, 1, 4, 0),
        instruction(LDX_MEM_W, 5, 1, 8, 0),
    ];
    let (walked, otherwise) = walk(rules);
    program.extend(walked.into_iter().flat_map(decide));
    program.extend(answer(otherwise));
    program.concat()
}

/// The rules that decide anything, from the last to the first, and what holds where none does.
fn walk(rules: &[Rule]) -> (Vec<&Rule>, bool) {
    let mut walked: Vec<&Rule> = Vec::new();
    let mut otherwise = false;
    for rule in rules.iter().rev() {
        if rule.is_total() {
            otherwise = rule.allow;
            break;
        }
        if !walked.iter().any(|later| rule.is_shadowed_by(later)) {
            walked.push(rule);
        }
    }
    // What denies right behind a denial of everything says nothing new; the usual programs of all engines are one then.
    while !otherwise && walked.last().is_some_and(|rule| !rule.allow) {
        walked.pop();
    }
    (walked, otherwise)
}

fn decide(rule: &Rule) -> Vec<Instruction> {
    let mut body = Vec::with_capacity(4);
    if rule.allow {
        body.push(instruction(AND64_IMM, 3, 0, 0, !rule.access));
        body.push(instruction(JNE_IMM, 3, 0, 2, 0));
    } else {
        body.push(instruction(MOV64_REG, 6, 3, 0, 0));
        body.push(instruction(AND64_IMM, 6, 0, 0, rule.access));
        body.push(instruction(JEQ_IMM, 6, 0, 2, 0));
    }
    body.extend(answer(rule.allow));
    let tests = [(2, rule.kind), (4, rule.major), (5, rule.minor)];
    let tests: Vec<_> = tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let mut code = Vec::with_capacity(8);
    for (at, (register, value)) in tests.iter().enumerate() {
        // Over the tests that follow and the body: eight instructions at most.
        let over = i16::try_from(tests.len() - at - 1 + body.len()).unwrap_or(0);
        code.push(instruction(JNE_IMM, *register, 0, over, *value));
    }
    code.extend(body);
    code
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(MOV64_IMM, 0, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

#[cfg(test)]
#[path = "device_program/tests.rs"]
mod tests;
