// SPDX-License-Identifier: Apache-2.0
use super::*;

#[test]
fn everything_is_unmade_from_what_is_on_disk() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ns/id");
    let mut record = Record::create(directory.clone()).unwrap();
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    record.push(Undo::Process(ProcessRecord::of(child.id()).unwrap())).unwrap();
    drop(record);
    assert_eq!(Record::load(&directory).unwrap().undo_all(), Vec::<String>::new());
    assert!(!child.wait().unwrap().success());
    assert!(!root.path().join("ns").exists());
}

#[test]
fn a_namespace_goes_with_its_last_task() {
    let root = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|id| root.path().join("ns").join(id));
    let [first, second] = [&one, &two].map(|task| Record::create(task.clone()).unwrap());
    assert_eq!(first.undo_all(), Vec::<String>::new());
    assert!(two.exists());
    assert_eq!(second.undo_all(), Vec::<String>::new());
    assert!(!root.path().join("ns").exists() && root.path().exists());
}

#[test]
fn tasks_that_begin_while_others_end_find_their_namespace() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for id in ["one", "two"] {
            let directory = root.path().join("ns").join(id);
            scope.spawn(move || {
                for _ in 0..500 {
                    assert_eq!(Record::create(directory.clone()).unwrap().undo_all(), Vec::<String>::new());
                }
            });
        }
    });
}

#[test]
fn a_reused_number_is_left_alone() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let mut record = ProcessRecord::of(child.id()).unwrap();
    record.start_time += 1;
    record.end().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_bundle_points_to_its_latest_run_directory() {
    let bundle = tempfile::tempdir().unwrap();
    assert_eq!(pointed_to(bundle.path()), None);
    point_to(bundle.path(), Path::new("/run/a")).unwrap();
    point_to(bundle.path(), Path::new("/run/b")).unwrap();
    assert_eq!(pointed_to(bundle.path()), Some("/run/b".into()));
}

#[test]
fn a_second_task_of_the_same_id_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ns/id");
    let _first = Record::create(directory.clone()).unwrap();
    assert_eq!(Record::create(directory).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn what_a_shim_left_that_was_killed_while_it_made_its_directory_is_swept() {
    let root = tempfile::tempdir().unwrap();
    let namespace = root.path().join("ns");
    let mut killed = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let maker = ProcessRecord::of(killed.id()).unwrap();
    let unfinished = unfinished(&namespace.join("id"), Some(&maker));
    std::fs::create_dir_all(&unfinished).unwrap();
    assert!(Record::abandoned(&unfinished).is_none(), "it is being made");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(Record::abandoned(&unfinished).unwrap().undo_all(), Vec::<String>::new());
    assert!(!namespace.exists());
}

#[test]
fn a_directory_without_a_record_is_no_task_and_does_not_keep_its_id() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ns/id");
    std::fs::create_dir_all(&directory).unwrap();
    assert_eq!(Record::create(directory.clone()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(Record::abandoned(&directory).is_none(), "a sweep leaves alone what may be anybody's");
    assert_eq!(Record::without(&directory).unwrap().undo_all(), Vec::<String>::new());
    let record = Record::create(directory.clone()).unwrap();
    assert!(Record::without(&directory).is_none());
    drop(record);
}

#[test]
fn a_file_in_the_way_is_nobodys_to_remove() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(Record::abandoned(&path).is_none() && Record::without(&path).is_none());
}
