// SPDX-License-Identifier: Apache-2.0
//! From Create to Delete, and what is told on the way.

use boxlite_protocol::protobuf::Message;
use boxlite_protocol::ttrpc;
use containerd_shim_protos::api::{
    CreateTaskResponse, DeleteRequest, DeleteResponse, ShutdownRequest, StartRequest, StartResponse, Status,
    WaitRequest, WaitResponse,
};

use crate::fake_machine::containerd::{Shim, patience};
use crate::fake_machine::fifo::Fifos;
use crate::fake_machine::process::Exec;
use crate::fake_machine::{PATIENCE, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_stand_in_the_order_of_a_life() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").shell("exit 3")).await;
    assert_eq!(container.wait().await, 3);
    assert_eq!(container.delete().await, 3);
    assert_eq!(shim.events.words(), ["create", "start", "exit 3", "delete 3"]);
    assert_eq!(shim.events.topics(), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_an_exec_stand_in_the_order_of_its_life() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["sleep", "1000"])).await;
    let exec = container.exec("e1", &Exec::shell("exit 4")).await;
    assert_eq!(exec.wait().await, 4);
    assert_eq!(exec.delete().await, 4);
    container.kill(9).await;
    assert_eq!(container.wait().await, 137);
    container.delete().await;
    let expected =
        ["create", "start", "exec-added e1", "exec-started e1", "exit e1 4", "exit 137", "delete 137"];
    assert_eq!(shim.events.words(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_follow_the_life() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").args(&["sleep", "1000"]);
    let container = shim.create(&bundle).await;
    let state = container.try_state().await.unwrap();
    assert_eq!(state.status(), Status::CREATED);
    assert_eq!((state.pid, state.bundle.as_str()), (container.pid, bundle.directory.to_str().unwrap()));
    assert_eq!(state.stdout, container.fifos.stdout.as_ref().unwrap().to_str().unwrap());
    container.start().await;
    assert_eq!(container.status().await, Status::RUNNING);
    container.kill(9).await;
    container.wait().await;
    let state = container.try_state().await.unwrap();
    assert_eq!((state.status(), state.exit_status), (Status::STOPPED, 137));
    assert!(state.exited_at.seconds > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_has_left_nothing_on_the_host() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").args(&["true"])).await;
    assert_eq!(container.wait().await, 0);
    container.delete().await;
    assert!(!shim.run_directory("c").exists());
    assert!(!std::path::Path::new(&format!("/proc/{}", container.pid)).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_reaches_all_who_wait_and_all_who_come_later() {
    let shim = Shim::start().await;
    let container = shim.run(&shim.bundle("c").with_stdin().shell("cat; exit 5")).await;
    let exec = container.exec("e1", &Exec::args(&["sleep", "1000"])).await;
    let end = async {
        container.close_stdin().await;
        container.wait().await
    };
    let (one, other, of_exec, ender) = tokio::join!(container.wait(), container.wait(), exec.wait(), end);
    assert_eq!((one, other, ender), (5, 5, 5));
    assert_eq!(of_exec, 137, "an exec ends with its container");
    assert_eq!(container.wait().await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_lives_by_the_names_of_version_2_too() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").shell("exit 3");
    bundle.write_config();
    let request = shim.request(&bundle, &Fifos::default());
    let created: CreateTaskResponse = call(&shim, "Create", &request).await.unwrap();
    let start = StartRequest { id: "c".into(), ..Default::default() };
    let started: StartResponse = call(&shim, "Start", &start).await.unwrap();
    assert_eq!(started.pid, created.pid);
    let wait = WaitRequest { id: "c".into(), ..Default::default() };
    let waited: WaitResponse = call(&shim, "Wait", &wait).await.unwrap();
    let delete = DeleteRequest { id: "c".into(), ..Default::default() };
    let deleted: DeleteResponse = call(&shim, "Delete", &delete).await.unwrap();
    assert_eq!((waited.exit_status, deleted.exit_status, deleted.pid), (3, 3, created.pid));
}

async fn call<T: Message>(shim: &Shim, method: &str, request: &impl Message) -> ttrpc::Result<T> {
    let request = ttrpc::Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: method.to_owned(),
        payload: request.write_to_bytes().unwrap(),
        timeout_nano: i64::try_from(PATIENCE.as_nanos()).unwrap(),
        ..Default::default()
    };
    let response = shim.connection.request(request).await?;
    Ok(T::parse_from_bytes(&response.payload).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_without_a_task_is_done_and_one_with_a_task_is_not() {
    let shim = Shim::start().await;
    let moment = std::time::Duration::from_millis(20);
    soon("the end of a forgotten shim", shim.service.forgotten(moment)).await;
    let container = shim.create(&shim.bundle("c")).await;
    let forgotten = tokio::time::timeout(10 * moment, shim.service.forgotten(moment)).await;
    assert!(forgotten.is_err(), "a shim with a task was taken for a forgotten one");
    container.delete().await;
    soon("the end of a forgotten shim", shim.service.forgotten(moment)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_whose_task_nobody_will_come_for_is_done() {
    let shim = Shim::start().await;
    let bundle = shim.bundle("c").nobody_reads();
    let socket = shim.scratch.path().join("engine.sock");
    let engine = [socket.to_str().unwrap()];
    let moment = std::time::Duration::from_millis(40);
    let orphaned = || shim.service.orphaned(moment, &engine);
    let stays = async |why: &str| {
        assert!(tokio::time::timeout(10 * moment, orphaned()).await.is_err(), "{why}");
    };
    let container = shim.run(&bundle.clone().args(&["sleep", "1000"])).await;
    let kept = bundle.directory.with_extension("kept");
    std::fs::rename(&bundle.directory, &kept).unwrap();
    stays("its task runs").await;
    container.kill(9).await;
    container.wait().await;
    std::fs::rename(&kept, &bundle.directory).unwrap();
    stays("an engine that comes back finds the bundle").await;
    std::fs::remove_dir_all(&bundle.directory).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    stays("the engine is there").await;
    drop(listener);
    let asking = async {
        loop {
            container.status().await;
            tokio::time::sleep(moment / 8).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = stays("somebody asks for it") => {}
    }
    soon("the end of an orphan", orphaned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_a_shim_without_a_task_alone() {
    let shim = Shim::start().await;
    let container = shim.create(&shim.bundle("c")).await;
    let shutdown = ShutdownRequest { id: "c".into(), ..Default::default() };
    shim.client.shutdown(patience(), &shutdown).await.unwrap();
    let ended = tokio::time::timeout(std::time::Duration::from_millis(50), shim.service.ended()).await;
    assert!(ended.is_err(), "a shim with a task ended");
    assert_eq!(container.status().await, Status::CREATED);
    container.delete().await;
    shim.client.shutdown(patience(), &shutdown).await.unwrap();
    soon("the end of the shim", shim.service.ended()).await;
}
