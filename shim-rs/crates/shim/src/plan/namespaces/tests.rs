// SPDX-License-Identifier: Apache-2.0
use super::*;

const OWN: [Type; 5] = [Type::Mount, Type::Pid, Type::Ipc, Type::Uts, Type::Network];

fn namespace(typ: Type, path: Option<&str>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(typ).set_path(path.map(Into::into));
    namespace
}

fn all() -> Vec<LinuxNamespace> {
    OWN.iter().map(|typ| namespace(*typ, None)).collect()
}

fn without(typ: Type) -> Vec<LinuxNamespace> {
    all().into_iter().filter(|namespace| namespace.typ() != typ).collect()
}

fn with(typ: Type, path: &str) -> Vec<LinuxNamespace> {
    let mut list = without(typ);
    list.push(namespace(typ, Some(path)));
    list
}

fn member() -> Role {
    Role::Member { sandbox_id: "s".into() }
}

#[test]
fn own_namespaces_are_made_in_the_guest() {
    let made = compile(Some(&all()), &Role::Single, Author::Engine).unwrap();
    assert_eq!(made.flags, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP);
    assert_eq!(made.network, NetworkPlan::New);
}

#[test]
fn time_namespace_is_left_to_the_guest() {
    let mut list = all();
    list.push(namespace(Type::Time, None));
    assert_eq!(
        compile(Some(&list), &Role::Single, Author::Engine),
        compile(Some(&all()), &Role::Single, Author::Engine)
    );
}

#[test]
fn namespaces_of_the_host_are_refused_in_the_users_words() {
    for (typ, words) in [
        (Type::Network, "--network host"),
        (Type::Pid, "--pid host"),
        (Type::Ipc, "--ipc host"),
        (Type::Uts, "--uts host"),
    ] {
        let refusal = compile(Some(&without(typ)), &Role::Single, Author::Engine).unwrap_err();
        assert!(matches!(refusal, Refusal::Unsupported { .. }));
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
    assert!(matches!(
        compile(Some(&without(Type::Mount)), &Role::Single, Author::Engine),
        Err(Refusal::Invalid { .. })
    ));
    assert!(compile(None, &Role::Single, Author::Engine).is_err());
}

#[test]
fn namespaces_of_another_container_are_refused() {
    for (typ, kind) in [(Type::Network, "net"), (Type::Pid, "pid"), (Type::Ipc, "ipc"), (Type::Uts, "uts")] {
        let list = with(typ, &format!("/proc/42/ns/{kind}"));
        let refusal = compile(Some(&list), &Role::Single, Author::Engine).unwrap_err();
        assert!(refusal.to_string().contains("container:X"), "{refusal}");
    }
}

#[test]
fn user_namespace_is_refused() {
    let mut list = all();
    list.push(namespace(Type::User, None));
    let refusal = compile(Some(&list), &Role::Single, Author::Engine).unwrap_err();
    assert!(refusal.to_string().contains("--userns=host"), "{refusal}");
}

#[test]
fn network_of_cni_is_joined() {
    let made =
        compile(Some(&with(Type::Network, "/var/run/netns/cni-1")), &Role::Sandbox, Author::Engine).unwrap();
    assert_eq!(made.network, NetworkPlan::Join("/var/run/netns/cni-1".into()));
    assert!(compile(Some(&with(Type::Network, "netns/cni-1")), &Role::Sandbox, Author::Engine).is_err());
}

#[test]
fn containers_of_a_pod_share_ipc_and_uts_of_the_guest() {
    let sandbox =
        compile(Some(&with(Type::Network, "/var/run/netns/cni-1")), &Role::Sandbox, Author::Engine).unwrap();
    assert_eq!(sandbox.flags, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP);
    let mut list = vec![namespace(Type::Mount, None), namespace(Type::Pid, None)];
    for (typ, kind) in [(Type::Ipc, "ipc"), (Type::Uts, "uts"), (Type::Network, "net")] {
        list.push(namespace(typ, Some(&format!("/proc/42/ns/{kind}"))));
    }
    let joined = compile(Some(&list), &member(), Author::Engine).unwrap();
    assert_eq!(joined.flags, sandbox.flags);
    assert_eq!(joined.network, NetworkPlan::Join("/proc/42/ns/net".into()));
}

#[test]
fn a_namespace_named_twice_is_invalid() {
    let mut list = all();
    list.push(namespace(Type::Ipc, None));
    assert!(matches!(compile(Some(&list), &Role::Single, Author::Engine), Err(Refusal::Invalid { .. })));
}

#[test]
fn only_a_process_namespace_looks_like_one() {
    assert!(of_process(Path::new("/proc/1/ns/net"), "net"));
    for path in ["/proc//ns/net", "/proc/self/ns/net", "/proc/1/ns/ipc", "/proc/1/../ns/net", "/run/netns/1"]
    {
        assert!(!of_process(Path::new(path), "net"), "{path}");
    }
}

#[test]
fn what_a_spec_by_hand_leaves_out_is_the_machines() {
    let bare = vec![namespace(Type::Mount, None)];
    assert_eq!(
        compile(Some(&bare), &Role::Single, Author::Hand),
        compile(Some(&all()), &Role::Single, Author::Hand)
    );
    assert!(compile(None, &Role::Single, Author::Hand).is_err(), "its files would be the machine's");
    for typ in [Type::Pid, Type::Ipc] {
        let shared = with(typ, "/proc/1/ns/x");
        assert!(compile(Some(&shared), &Role::Single, Author::Hand).is_err(), "that one is named");
    }
}

#[test]
fn an_engine_is_known_by_the_files_it_brings() {
    let mount = |destination: &str| {
        let mut mount = Mount::default();
        mount.set_destination(destination.into());
        mount
    };
    assert_eq!(Author::of(None), Author::Hand);
    assert_eq!(Author::of(Some(&vec![mount("/proc"), mount("/dev")])), Author::Hand);
    assert_eq!(Author::of(Some(&vec![mount("/proc"), mount("/etc/hosts")])), Author::Engine);
}
