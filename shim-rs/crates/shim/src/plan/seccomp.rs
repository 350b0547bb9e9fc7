// SPDX-License-Identifier: Apache-2.0
//! `linux.seccomp` as the bytes of a classic BPF program, compiled by the host's libseccomp: one program for each
//! architecture, joined by [`dispatch`]. Each is a binary tree: the guest's kernel runs the filter once per system call
//! and architecture when it is installed, which a linear one makes noticeable in an emulated guest.
//!
//! System calls the library does not know are skipped, as runc does.

mod dispatch;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::{Mutex, PoisonError};

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall, Spec,
};

use super::refusal::Refusal;

const FIELD: &str = "linux.seccomp";
const EPERM: u32 = 1;

/// Longest program the kernel takes (`BPF_MAXINSNS`), in instructions of eight bytes.
const MAX_INSTRUCTIONS: usize = 4096;

/// Most rules: a profile with all system calls has some hundred.
const MAX_RULES: usize = 8192;

/// libseccomp's name for a filter that is a tree (`SCMP_FLTATR_CTL_OPTIMIZE`, since 2.5).
const BINARY_TREE: u32 = 2;

/// Profiles kept compiled: containers of a pod mostly have the same.
const KEPT: usize = 8;

// linux/seccomp.h
const FILTER_FLAG_TSYNC: u32 = 1;
const FILTER_FLAG_LOG: u32 = 1 << 1;
const FILTER_FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// A compiled filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// struct sock_filter, eight bytes each.
    pub(super) program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: u32,
}

/// Compiles the profile of a spec ahead of its [`super::compile`], which then finds it: it takes longer than all the rest.
/// What is wrong with it is told there.
pub fn compile_ahead(spec: &Spec) {
    if let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let _ = compile(profile);
    }
}

/// Compiles a profile, or finds it compiled already.
pub(super) fn compile(seccomp: &LinuxSeccomp) -> Result<Filter, Refusal> {
    static COMPILED: Mutex<BTreeMap<String, Filter>> = Mutex::new(BTreeMap::new());
    let key = serde_json::to_string(seccomp).map_err(|error| Refusal::invalid(FIELD, error.to_string()))?;
    // Held while one is compiled: who wants the same meanwhile has it soonest by waiting.
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = compiled.get(&key) {
        return Ok(filter.clone());
    }
    let filter = Filter { program: program(seccomp)?, flags: flags(seccomp) };
    if compiled.len() >= KEPT {
        compiled.pop_first();
    }
    compiled.insert(key, filter.clone());
    Ok(filter)
}

fn flags(seccomp: &LinuxSeccomp) -> u32 {
    // Without a list runc asks for SPEC_ALLOW. Waiting killably is for listeners, which are refused.
    let Some(flags) = seccomp.flags() else { return FILTER_FLAG_SPEC_ALLOW };
    flags.iter().fold(0, |sum, flag| {
        sum | match flag {
            Flag::SeccompFilterFlagTsync => FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagLog => FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => FILTER_FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

fn program(seccomp: &LinuxSeccomp) -> Result<Vec<u8>, Refusal> {
    let calls = seccomp.syscalls().as_deref().unwrap_or(&[]);
    if calls.iter().map(|call| call.names().len()).sum::<usize>() > MAX_RULES {
        return Err(Refusal::invalid(FIELD, format!("more than {MAX_RULES} system calls")));
    }
    if seccomp.listener_path().is_some() {
        return Err(notify());
    }
    let default = action(seccomp.default_action(), seccomp.default_errno_ret())?;
    let architectures = architectures(seccomp)?;
    let with_x32 = architectures.contains(&ScmpArch::X32);
    let mut sections = Vec::new();
    for architecture in architectures.into_iter().filter(|architecture| *architecture != ScmpArch::X32) {
        sections.push(dispatch::Section {
            audit_arch: audit_arch(architecture)?,
            largest: largest(seccomp, architecture),
            with_x32: with_x32 && architecture == ScmpArch::X8664,
            program: of_one(architecture, default, calls)?,
        });
    }
    let program = dispatch::join(&sections);
    if program.len() / 8 > MAX_INSTRUCTIONS {
        return Err(Refusal::invalid(FIELD, format!("comes to more than {MAX_INSTRUCTIONS} instructions")));
    }
    Ok(program)
}

fn of_one(architecture: ScmpArch, default: ScmpAction, calls: &[LinuxSyscall]) -> Result<Vec<u8>, Refusal> {
    let mut filter = ScmpFilterContext::new(default).map_err(failed)?;
    if architecture != ScmpArch::native() {
        filter.add_arch(architecture).map_err(failed)?;
        filter.remove_arch(ScmpArch::native()).map_err(failed)?;
    }
    filter.set_ctl_optimize(BINARY_TREE).map_err(failed)?;
    for call in calls {
        add(&mut filter, call, default)?;
    }
    export(&filter)
}

/// The largest number of the calls the profile names, where it denies what it does not know.
fn largest(seccomp: &LinuxSeccomp, architecture: ScmpArch) -> Option<u32> {
    let action = seccomp.default_action();
    let permissive = matches!(action, Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace);
    if permissive {
        return None;
    }
    let names = seccomp.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, architecture).ok());
    // Negative ones are the library's own, for calls the architecture does not have.
    numbers.filter_map(|number| u32::try_from(number.as_raw_syscall()).ok()).max()
}

/// `AUDIT_ARCH_*` of linux/audit.h.
fn audit_arch(architecture: ScmpArch) -> Result<u32, Refusal> {
    Ok(match architecture {
        ScmpArch::X86 => 0x4000_0003,
        ScmpArch::X8664 => 0xc000_003e,
        ScmpArch::Arm => 0x4000_0028,
        ScmpArch::Aarch64 => 0xc000_00b7,
        other => {
            return Err(Refusal::invalid(FIELD, format!("architecture {other:?} is not this machine's")));
        }
    })
}

fn add(filter: &mut ScmpFilterContext, call: &LinuxSyscall, default: ScmpAction) -> Result<(), Refusal> {
    let action = action(call.action(), call.errno_ret())?;
    // The library refuses rules that change nothing.
    if action == default {
        return Ok(());
    }
    let comparisons = call.args().iter().flatten().map(comparison).collect::<Result<Vec<_>, _>>()?;
    // Comparisons of one argument are alternatives, those of different ones must all hold.
    let args = call.args().as_deref().unwrap_or(&[]);
    let alternatives = args
        .iter()
        .enumerate()
        .any(|(at, arg)| args[..at].iter().any(|earlier| earlier.index() == arg.index()));
    for name in call.names() {
        super::spec::check_text(FIELD, name)?;
        let Ok(number) = ScmpSyscall::from_name(name) else { continue };
        if comparisons.is_empty() {
            filter.add_rule(action, number).map_err(failed)?;
        } else if alternatives {
            for comparison in &comparisons {
                filter.add_rule_conditional(action, number, &[*comparison]).map_err(failed)?;
            }
        } else {
            filter.add_rule_conditional(action, number, &comparisons).map_err(failed)?;
        }
    }
    Ok(())
}

fn action(action: Action, value: Option<u32>) -> Result<ScmpAction, Refusal> {
    let value = || {
        u16::try_from(value.unwrap_or(EPERM)).map_err(|_| Refusal::invalid(FIELD, "errnoRet is above 65535"))
    };
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(value()?.into()),
        Action::ScmpActTrace => ScmpAction::Trace(value()?),
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => return Err(notify()),
    })
}

fn notify() -> Refusal {
    Refusal::unsupported(
        "a seccomp profile with a listener (SCMP_ACT_NOTIFY)",
        "the listener is a process of the host and the calls are made under another kernel",
        "use a profile without it",
    )
}

fn comparison(arg: &LinuxSeccompArg) -> Result<ScmpArgCompare, Refusal> {
    let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| Refusal::invalid(FIELD, "a system call has six arguments"))?;
    let operator = match arg.op() {
        Operator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        Operator::ScmpCmpLt => ScmpCompareOp::Less,
        Operator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        Operator::ScmpCmpEq => ScmpCompareOp::Equal,
        Operator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        Operator::ScmpCmpGt => ScmpCompareOp::Greater,
        // `value` is the mask and `valueTwo` what is compared with.
        Operator::ScmpCmpMaskedEq => {
            let mask = ScmpCompareOp::MaskedEqual(arg.value());
            return Ok(ScmpArgCompare::new(index, mask, arg.value_two().unwrap_or(0)));
        }
    };
    Ok(ScmpArgCompare::new(index, operator, arg.value()))
}

fn architectures(seccomp: &LinuxSeccomp) -> Result<Vec<ScmpArch>, Refusal> {
    let mut list = vec![ScmpArch::native()];
    for architecture in seccomp.architectures().iter().flatten() {
        let known = match architecture {
            Arch::ScmpArchNative => ScmpArch::native(),
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX86_64 => ScmpArch::X8664,
            Arch::ScmpArchX32 => ScmpArch::X32,
            Arch::ScmpArchArm => ScmpArch::Arm,
            Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
            other => {
                return Err(Refusal::invalid(FIELD, format!("architecture {other} is not this machine's")));
            }
        };
        if !list.contains(&known) {
            list.push(known);
        }
    }
    Ok(list)
}

/// Through an anonymous file: reading the program from memory needs libseccomp 2.6.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, Refusal> {
    let broken = |error: std::io::Error| Refusal::invalid(FIELD, error.to_string());
    let memory = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = std::fs::File::from(memory.map_err(|errno| broken(errno.into()))?);
    filter.export_bpf(&file).map_err(failed)?;
    let mut program = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut program)).map_err(broken)?;
    Ok(program)
}

#[expect(clippy::needless_pass_by_value, reason = "stands where map_err wants a function of the error")]
fn failed(error: SeccompError) -> Refusal {
    Refusal::invalid(FIELD, error.to_string())
}

#[cfg(test)]
mod tests;
