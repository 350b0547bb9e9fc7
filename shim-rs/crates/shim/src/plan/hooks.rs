// SPDX-License-Identifier: Apache-2.0
//! `hooks`: those that run on the host are kept for the shim; those that would run a program of the host inside the
//! container's namespaces have no place to run and are refused.

use oci_spec::runtime::{Hook, Hooks};

use super::refusal::Refusal;
use super::spec;

/// Programs of the host around a container's life, each list in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HostHooks {
    /// During Create, when the network namespace and its pid are there. Deprecated by OCI, used by Docker up to 27.
    pub prestart: Vec<Hook>,
    /// During Create, after `prestart`.
    pub create_runtime: Vec<Hook>,
    /// After the start; a failure is logged and changes nothing.
    pub poststart: Vec<Hook>,
    /// After the container was deleted; a failure is logged and changes nothing.
    pub poststop: Vec<Hook>,
}

/// Sorts the hooks of a spec.
pub(super) fn compile(hooks: Option<&Hooks>) -> Result<HostHooks, Refusal> {
    let Some(hooks) = hooks else { return Ok(HostHooks::default()) };
    for (name, list) in
        [("createContainer", hooks.create_container()), ("startContainer", hooks.start_container())]
    {
        if list.as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(Refusal::unsupported(
                format!("a {name} hook"),
                "it would run a program of the host inside the container, which is in a machine",
                "use a createRuntime hook, which runs on the host",
            ));
        }
    }
    let prestart = hooks.prestart();
    Ok(HostHooks {
        prestart: checked("hooks.prestart", prestart.as_ref())?,
        create_runtime: checked("hooks.createRuntime", hooks.create_runtime().as_ref())?,
        poststart: checked("hooks.poststart", hooks.poststart().as_ref())?,
        poststop: checked("hooks.poststop", hooks.poststop().as_ref())?,
    })
}

fn checked(field: &str, hooks: Option<&Vec<Hook>>) -> Result<Vec<Hook>, Refusal> {
    for hook in hooks.into_iter().flatten() {
        spec::check_path(field, hook.path())?;
        if !hook.path().is_absolute() {
            return Err(Refusal::invalid(field, format!("path {} is not absolute", hook.path().display())));
        }
        if hook.timeout().is_some_and(|seconds| seconds <= 0) {
            return Err(Refusal::invalid(field, "timeout must be greater than zero"));
        }
        for text in hook.args().iter().flatten().chain(hook.env().iter().flatten()) {
            spec::check_text(field, text)?;
        }
    }
    Ok(hooks.cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(path: &str, timeout: Option<i64>) -> Option<Vec<Hook>> {
        let mut hook = Hook::default();
        hook.set_path(path.into()).set_timeout(timeout);
        Some(vec![hook])
    }

    #[test]
    fn hooks_of_the_host_are_kept() {
        let mut hooks = Hooks::default();
        hooks.set_create_runtime(hook("/bin/x", None)).set_poststop(hook("/bin/y", Some(3)));
        let kept = compile(Some(&hooks)).unwrap();
        assert_eq!((kept.create_runtime.len(), kept.poststop.len(), kept.prestart.len()), (1, 1, 0));
    }

    #[test]
    fn hooks_inside_the_container_are_refused() {
        let mut hooks = Hooks::default();
        hooks.set_start_container(hook("/bin/x", None));
        assert!(matches!(compile(Some(&hooks)), Err(Refusal::Unsupported { .. })));
    }

    #[test]
    fn broken_hooks_are_refused() {
        for (path, timeout) in [("bin/x", None), ("", None), ("/bin/x", Some(0)), ("/bin/x", Some(-1))] {
            let mut hooks = Hooks::default();
            hooks.set_create_runtime(hook(path, timeout));
            assert!(matches!(compile(Some(&hooks)), Err(Refusal::Invalid { .. })), "{path}");
        }
    }
}
