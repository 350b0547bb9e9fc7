// SPDX-License-Identifier: Apache-2.0
//! Programs that cannot run, in the words engines look for; and what a program is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use boxlite_protocol::ttrpc::Code;

use crate::agent_test;
use crate::host::{read_all, refusal};
use crate::plans::{plan, process};

agent_test!(create_refuses_what_cannot_run, guest, {
    for (program, message) in [
        ("foo", "exec: \"foo\": executable file not found in $PATH"),
        ("/foo", "exec: \"/foo\": stat /foo: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/plain", "exec: \"/etc/plain\": permission denied"),
        ("./bin/none", "exec: \"./bin/none\": stat ./bin/none: no such file or directory"),
    ] {
        let refused = refusal(guest.create(plan(&[program])).await);
        assert_eq!(refused, (Code::INVALID_ARGUMENT, message.to_owned()));
    }
    // Nothing of the refused ones is in the way.
    assert_eq!(guest.run(plan(&["/bin/true"])).await.0, 0);
});

agent_test!(exec_refuses_what_cannot_run, guest, {
    let _io = guest.launch(plan(&["sleep", "60"])).await.unwrap();
    let refused = refusal(guest.exec("c", "e", process(&["foo"])).await);
    assert_eq!(refused.1, "exec: \"foo\": executable file not found in $PATH");
    let mut elsewhere = process(&["true"]);
    elsewhere.cwd = "/nowhere".into();
    let refused = refusal(guest.exec("c", "e", elsewhere).await);
    let message = "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory";
    assert_eq!(refused, (Code::INVALID_ARGUMENT, message.to_owned()));
    assert!(guest.exec("c", "e", process(&["true"])).await.is_ok());
});

agent_test!(what_the_kernel_cannot_execute_says_so_itself, guest, {
    let bin = guest.rootfs().join("bin");
    for (name, content) in [("garbage", "not a program"), ("orphan", "#!/no/interpreter\n")] {
        fs::write(bin.join(name), content).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (status, _, error) = guest.run(plan(&["garbage"])).await;
    assert_eq!((status, error.as_str()), (1, "exec /bin/garbage: exec format error\n"));
    let (status, _, error) = guest.run(plan(&["/bin/orphan"])).await;
    assert_eq!((status, error.as_str()), (1, "exec /bin/orphan: no such file or directory\n"));
});

agent_test!(working_directory_is_made_for_the_first_process, guest, {
    let mut plan = plan(&["pwd"]);
    plan.process.as_mut().unwrap().cwd = "/srv/app".into();
    assert_eq!(guest.run(plan).await.1, "/srv/app\n");
});

agent_test!(home_comes_from_the_containers_users, guest, {
    let mut plan = plan(&["sh", "-c", "echo $HOME"]);
    let process = plan.process.as_mut().unwrap();
    (process.uid, process.gid, process.home_from_passwd) = (33, 33, true);
    let launched = guest.launch(plan).await.unwrap();
    assert_eq!(read_all(launched.stdout).await, "/srv/web\n");
});

agent_test!(users_that_are_a_fifo_hold_nothing_up, guest, {
    let users = guest.rootfs().join("etc/passwd");
    fs::remove_file(&users).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &users, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let mut plan = plan(&["sh", "-c", "echo $HOME"]);
    plan.process.as_mut().unwrap().home_from_passwd = true;
    assert_eq!(guest.run(plan).await.1, "/\n");
});

agent_test!(no_descriptor_of_the_agent_reaches_the_program, guest, {
    let (_, output, _) = guest.run(plan(&["sh", "-c", "echo /proc/self/fd/*"])).await;
    // The shell's own, which it opened to read the directory, is the fourth.
    assert_eq!(output, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n");
});
