// SPDX-License-Identifier: Apache-2.0
//! A directory of templates: what appears, what is refused, what goes. No machine is needed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::manifest::{self, Part};
use super::super::{files::FileError, identity};
use super::*;
use crate::settings::Setting;

fn store() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::create(&scratch.path().join("templates")).unwrap();
    (scratch, store)
}

fn part(bytes: &[u8]) -> Part {
    Part { size: bytes.len() as u64, sha256: identity::sha256_of(&mut { bytes }).unwrap() }
}

/// Publishes a template whose files hold words.
pub(in crate::template) fn publish(store: &Store, class: &str, identity: &str) -> Entry {
    let lock = store.lock(|| panic!("locked")).unwrap();
    let class: Class = class.parse().unwrap();
    let workspace = store.workspace(&lock).unwrap();
    fs::write(workspace.path().join(MEMORY), "memory").unwrap();
    fs::write(workspace.path().join(STATE), "state").unwrap();
    let settings = vec![Setting { path: "fs/file-max".to_owned(), value: "1000".to_owned() }];
    let manifest = Manifest {
        format: identity::FORMAT,
        settings_sha256: manifest::digest(&settings).unwrap(),
        settings,
        vcpus: class.vcpus,
        memory_mib: class.memory_mib,
        key: identity::key(identity),
        identity: identity.to_owned(),
        created: 1,
        memory: part(b"memory"),
        state: part(b"state"),
    };
    store.publish(workspace, &manifest, &lock).unwrap();
    Entry { class, key: manifest.key }
}

fn file(store: &Store, entry: &Entry, name: &str) -> PathBuf {
    store.path().join(entry.name()).join(name)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_template_appears_whole_and_its_owners_alone() {
    let (_scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    assert_eq!(store.entries().unwrap(), std::slice::from_ref(&entry));
    let template = store.template(&entry).unwrap();
    assert_eq!(std::io::read_to_string(template.image.memory.try_clone().unwrap()).unwrap(), "memory");
    assert_eq!(mode(store.path()), 0o700);
    assert_eq!(mode(&store.path().join(entry.name())), 0o700);
    for name in [MANIFEST, MEMORY, STATE] {
        assert_eq!(mode(&file(&store, &entry, name)), 0o600, "{name}");
    }
}

#[test]
fn the_smallest_class_comes_first() {
    let (_scratch, store) = store();
    for class in ["2x1024", "1x2048", "1x256", "1x1024"] {
        publish(&store, class, class);
    }
    let classes: Vec<String> = store.entries().unwrap().iter().map(|entry| entry.class.to_string()).collect();
    assert_eq!(classes, ["1x256", "1x1024", "2x1024", "1x2048"]);
}

#[test]
fn what_others_own_or_may_write_is_refused() {
    let (_scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    for name in [MANIFEST, MEMORY, STATE] {
        let path = file(&store, &entry, name);
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let error = store.template(&entry).unwrap_err();
        assert!(matches!(error, TemplateError::File(FileError::Unsafe { .. })), "{name}: {error}");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(store.path().join(entry.name()), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(store.template(&entry), Err(TemplateError::File(FileError::Unsafe { .. }))));
    fs::set_permissions(store.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(store.path()), Err(FileError::Unsafe { .. })));
}

#[test]
fn links_are_refused() {
    let (scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    for name in [MANIFEST, MEMORY, STATE] {
        let path = file(&store, &entry, name);
        let elsewhere = scratch.path().join(name);
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(
            matches!(store.template(&entry), Err(TemplateError::File(FileError::Unsafe { .. }))),
            "{name}"
        );
        fs::rename(&elsewhere, &path).unwrap();
    }
    let other = Entry { class: entry.class, key: "0".repeat(64) };
    symlink(entry.name(), store.path().join(other.name())).unwrap();
    assert!(matches!(store.template(&other), Err(TemplateError::File(FileError::Unsafe { .. }))));
}

#[test]
fn damage_is_found_and_named() {
    let (_scratch, store) = store();
    for (name, content) in
        [(STATE, "stat"), (STATE, "Xtate"), (MEMORY, "memor"), (MANIFEST, "{"), (MANIFEST, "")]
    {
        let entry = publish(&store, "1x512", "a");
        fs::write(file(&store, &entry, name), content).unwrap();
        let error = store.template(&entry).unwrap_err();
        assert!(matches!(error, TemplateError::Damaged { .. }), "{name} {content:?}: {error}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
    for name in [MANIFEST, MEMORY, STATE] {
        let entry = publish(&store, "1x512", "a");
        fs::remove_file(file(&store, &entry, name)).unwrap();
        assert!(
            matches!(store.template(&entry), Err(TemplateError::File(FileError::Absent { .. }))),
            "{name}"
        );
    }
}

#[test]
fn changed_memory_of_the_same_length_is_found_by_its_digest() {
    let (_scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    store.template(&entry).unwrap().check_memory().unwrap();
    fs::write(file(&store, &entry, MEMORY), "memorY").unwrap();
    assert!(store.template(&entry).unwrap().check_memory().is_err());
}

#[test]
fn a_setting_that_has_changed_on_disk_is_noticed() {
    let (_scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    let path = file(&store, &entry, MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"1000\"", "\"1001\"")).unwrap();
    assert!(matches!(store.template(&entry), Err(TemplateError::Damaged { name: MANIFEST, .. })));
}

#[test]
fn a_template_under_another_ones_name_is_refused() {
    let (_scratch, store) = store();
    let (one, other) = (publish(&store, "1x512", "a"), publish(&store, "1x512", "b"));
    fs::remove_dir_all(store.path().join(other.name())).unwrap();
    fs::rename(store.path().join(one.name()), store.path().join(other.name())).unwrap();
    assert!(matches!(store.template(&other), Err(TemplateError::Damaged { name: MANIFEST, .. })));
}

#[test]
fn a_build_that_is_given_up_leaves_nothing() {
    let (_scratch, store) = store();
    let lock = store.lock(|| {}).unwrap();
    let workspace = store.workspace(&lock).unwrap();
    fs::write(workspace.path().join(MEMORY), "half").unwrap();
    assert_eq!(store.entries().unwrap(), []);
    drop(workspace);
    let left: Vec<String> =
        store.names().unwrap().into_iter().filter(|name| name.starts_with(BUILDING)).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_next_build_clears_the_ruins_of_a_killed_one() {
    let (scratch, store) = store();
    let ruin = store.path().join(format!("{BUILDING}1"));
    fs::create_dir(&ruin).unwrap();
    fs::write(ruin.join(MEMORY), "half").unwrap();
    symlink(scratch.path(), store.path().join(format!("{BUILDING}link"))).unwrap();
    let entry = publish(&store, "1x512", "a");
    let mut names = store.names().unwrap();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    assert_eq!(names, [LOCK.to_owned(), entry.name()]);
    assert!(scratch.path().exists(), "a link was followed");
}

#[test]
fn a_removal_takes_nothing_from_who_has_it_open() {
    let (_scratch, store) = store();
    let entry = publish(&store, "1x512", "a");
    let template = store.template(&entry).unwrap();
    store.remove(&entry, &store.lock(|| {}).unwrap()).unwrap();
    assert_eq!(store.entries().unwrap(), []);
    template.check_memory().unwrap();
}

#[test]
fn one_builds_and_the_other_waits_and_is_told() {
    let (_scratch, store) = store();
    let lock = store.lock(|| panic!("nobody else is here")).unwrap();
    let other = Store::open(store.path()).unwrap();
    let (told, waiting) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || other.lock(|| told.send(()).unwrap()).map(drop));
    waiting.recv().unwrap();
    drop(lock);
    thread.join().unwrap().unwrap();
}

#[test]
fn digests_others_may_have_written_are_not_believed() {
    let (_scratch, store) = store();
    assert!(store.digests().is_none());
    store.note(&Digests::default(), &store.lock(|| {}).unwrap()).unwrap();
    assert!(store.digests().is_some());
    fs::set_permissions(store.path().join(DIGESTS), PermissionsExt::from_mode(0o666)).unwrap();
    assert!(store.digests().is_none());
}
