// SPDX-License-Identifier: Apache-2.0
//! The annotations that mean something: three of our own, typed, and what containerd's CRI plugin says about pods.
//! None of them names a path or reaches a command line (design D14).

use std::collections::HashMap;
use std::str::FromStr;

use super::refusal::Refusal;
use super::spec;

const PREFIX: &str = "io.boxlite.";
const MEMORY: &str = "io.boxlite.memory_mib";
const VCPUS: &str = "io.boxlite.vcpus";
const TEMPLATE: &str = "io.boxlite.template";
const CRI_TYPE: &str = "io.kubernetes.cri.container-type";
const CRI_SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
const CRI_MEMORY: &str = "io.kubernetes.cri.sandbox-memory";

/// Which part of a pod a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// No pod: the machine is this container's alone.
    Single,
    /// The pod's first container; the machine is made for it.
    Sandbox,
    /// Joins the machine of its sandbox.
    Member {
        /// Id of the sandbox's container.
        sandbox_id: String,
    },
}

/// Whether a machine is to come from a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateMode {
    /// Always boot.
    Off,
    /// From a template when one fits.
    Auto,
    /// Fail when none fits.
    Required,
}

/// What the annotations of one container say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) memory_mib: Option<u32>,
    pub(super) vcpus: Option<u32>,
    pub(super) template: Option<TemplateMode>,
    pub(super) role: Role,
    pub(super) pod: PodLimits,
}

/// The limits of all containers of a pod together, on its sandbox; 0 or less: not all have one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PodLimits {
    /// In bytes.
    pub(super) memory: i64,
}

/// Picks the known ones out of a spec's annotations.
pub(super) fn read(
    annotations: Option<&HashMap<String, String>>,
    warnings: &mut Vec<String>,
) -> Result<Annotations, Refusal> {
    let find = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
    let mut unknown: Vec<_> = annotations.into_iter().flat_map(HashMap::keys).collect();
    unknown.retain(|key| key.starts_with(PREFIX) && ![MEMORY, VCPUS, TEMPLATE].contains(&key.as_str()));
    unknown.sort();
    warnings.extend(unknown.into_iter().map(|key| format!("annotation {key:?} is unknown")));
    Ok(Annotations {
        memory_mib: positive(MEMORY, find(MEMORY))?,
        vcpus: positive(VCPUS, find(VCPUS))?,
        template: template(find(TEMPLATE))?,
        role: role(find(CRI_TYPE), find(CRI_SANDBOX))?,
        pod: PodLimits { memory: number(CRI_MEMORY, find(CRI_MEMORY))? },
    })
}

fn positive(key: &str, value: Option<&str>) -> Result<Option<u32>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    // from_str takes "+1"; a number with a sign is more likely a mistake than a wish.
    match u32::from_str(value) {
        Ok(number) if number > 0 && !value.starts_with('+') => Ok(Some(number)),
        _ => {
            Err(Refusal::invalid(format!("annotation {key}"), format!("{value:?} is not a positive number")))
        }
    }
}

fn number(key: &str, value: Option<&str>) -> Result<i64, Refusal> {
    let parse = |value: &str| {
        i64::from_str(value)
            .map_err(|_| Refusal::invalid(format!("annotation {key}"), format!("{value:?} is not a number")))
    };
    value.map_or(Ok(0), parse)
}

fn template(value: Option<&str>) -> Result<Option<TemplateMode>, Refusal> {
    match value {
        None => Ok(None),
        Some("off") => Ok(Some(TemplateMode::Off)),
        Some("auto") => Ok(Some(TemplateMode::Auto)),
        Some("required") => Ok(Some(TemplateMode::Required)),
        Some(other) => Err(Refusal::invalid(
            format!("annotation {TEMPLATE}"),
            format!("{other:?} is none of \"off\", \"auto\", \"required\""),
        )),
    }
}

fn role(kind: Option<&str>, sandbox: Option<&str>) -> Result<Role, Refusal> {
    match (kind, sandbox) {
        (None, _) => Ok(Role::Single),
        (Some("sandbox"), _) => Ok(Role::Sandbox),
        (Some("container"), Some(id)) => {
            spec::check_id(id)?;
            Ok(Role::Member { sandbox_id: id.to_owned() })
        }
        (Some("container"), None) => Err(Refusal::invalid(
            format!("annotation {CRI_SANDBOX}"),
            "a container of a pod must name its sandbox",
        )),
        (Some(other), _) => {
            Err(Refusal::invalid(format!("annotation {CRI_TYPE}"), format!("{other:?} is unknown")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> (Result<Annotations, Refusal>, Vec<String>) {
        let map = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut warnings = Vec::new();
        (read(Some(&map), &mut warnings), warnings)
    }

    #[test]
    fn known_ones_are_typed() {
        let (read, warnings) =
            read_pairs(&[(MEMORY, "256"), (VCPUS, "2"), (TEMPLATE, "off"), ("other", "x")]);
        let read = read.unwrap();
        assert_eq!((read.memory_mib, read.vcpus), (Some(256), Some(2)));
        assert_eq!(read.template, Some(TemplateMode::Off));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn ill_typed_one_is_refused() {
        for (key, value) in
            [(MEMORY, "1g"), (MEMORY, "0"), (MEMORY, "-1"), (VCPUS, "+1"), (VCPUS, ""), (TEMPLATE, "/x")]
        {
            assert!(read_pairs(&[(key, value)]).0.is_err(), "{key}={value}");
        }
    }

    #[test]
    fn unknown_one_of_ours_is_a_warning() {
        let (read, warnings) = read_pairs(&[("io.boxlite.kernel", "/tmp/evil")]);
        assert!(read.is_ok());
        assert_eq!(warnings, ["annotation \"io.boxlite.kernel\" is unknown"]);
    }

    #[test]
    fn role_comes_from_cri() {
        assert_eq!(read_pairs(&[(CRI_TYPE, "sandbox")]).0.unwrap().role, Role::Sandbox);
        let member = Role::Member { sandbox_id: "s1".into() };
        assert_eq!(read_pairs(&[(CRI_TYPE, "container"), (CRI_SANDBOX, "s1")]).0.unwrap().role, member);
        assert!(read_pairs(&[(CRI_TYPE, "container")]).0.is_err());
        assert!(read_pairs(&[(CRI_TYPE, "container"), (CRI_SANDBOX, "../x")]).0.is_err());
    }
}
