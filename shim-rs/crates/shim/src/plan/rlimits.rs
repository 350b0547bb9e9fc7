// SPDX-License-Identifier: Apache-2.0
//! `process.rlimits` by the numbers of sys/resource.h (the same on x86_64 and aarch64), over those a process inherits.

use boxlite_protocol::plan::Rlimit;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType as Type};

use super::refusal::Refusal;

/// The limits of a process: the spec's, and of what that does not name the ones that are given.
pub(super) fn compile(limits: Option<&Vec<PosixRlimit>>, given: &[Rlimit]) -> Result<Vec<Rlimit>, Refusal> {
    let named = named(limits)?;
    let is_named = |limit: &&Rlimit| named.iter().any(|other| other.resource == limit.resource);
    let inherited = given.iter().filter(|limit| !is_named(limit)).cloned();
    Ok(inherited.chain(named.iter().cloned()).collect())
}

/// In the spec's order.
fn named(limits: Option<&Vec<PosixRlimit>>) -> Result<Vec<Rlimit>, Refusal> {
    let mut compiled: Vec<Rlimit> = Vec::new();
    for limit in limits.into_iter().flatten() {
        let field = || format!("process.rlimits[{:?}]", limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Refusal::invalid(field(), "the soft limit is above the hard one"));
        }
        let resource = number(limit.typ());
        if compiled.iter().any(|earlier| earlier.resource == resource) {
            return Err(Refusal::invalid(field(), "is there twice"));
        }
        compiled.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard(), ..Rlimit::default() });
    }
    Ok(compiled)
}

fn number(typ: Type) -> u32 {
    match typ {
        Type::RlimitCpu => 0,
        Type::RlimitFsize => 1,
        Type::RlimitData => 2,
        Type::RlimitStack => 3,
        Type::RlimitCore => 4,
        Type::RlimitRss => 5,
        Type::RlimitNproc => 6,
        Type::RlimitNofile => 7,
        Type::RlimitMemlock => 8,
        Type::RlimitAs => 9,
        Type::RlimitLocks => 10,
        Type::RlimitSigpending => 11,
        Type::RlimitMsgqueue => 12,
        Type::RlimitNice => 13,
        Type::RlimitRtprio => 14,
        Type::RlimitRttime => 15,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::PosixRlimitBuilder;

    use super::*;

    fn limit(typ: Type, soft: u64, hard: u64) -> PosixRlimit {
        PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build().unwrap()
    }

    #[test]
    fn numbers_and_values_are_the_kernels() {
        let made = compile(Some(&vec![limit(Type::RlimitNofile, 1024, u64::MAX)]), &[]).unwrap();
        assert_eq!((made[0].resource, made[0].soft, made[0].hard), (7, 1024, u64::MAX));
    }

    #[test]
    fn what_the_spec_does_not_name_is_inherited() {
        let given = |resource, soft| Rlimit { resource, soft, hard: 9, ..Rlimit::default() };
        let values = |spec: Option<&Vec<PosixRlimit>>| {
            let made = compile(spec, &[given(6, 3), given(7, 4)]).unwrap();
            let mut values: Vec<_> = made.iter().map(|limit| (limit.resource, limit.soft)).collect();
            values.sort_unstable();
            values
        };
        assert_eq!(values(None), [(6, 3), (7, 4)]);
        assert_eq!(values(Some(&vec![limit(Type::RlimitNofile, 1, 2)])), [(6, 3), (7, 1)]);
        assert_eq!(values(Some(&vec![limit(Type::RlimitCore, 0, 0)])), [(4, 0), (6, 3), (7, 4)]);
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(compile(Some(&vec![limit(Type::RlimitCore, 2, 1)]), &[]).is_err());
        assert!(compile(Some(&vec![limit(Type::RlimitCore, 1, 1); 2]), &[]).is_err());
    }
}
