// SPDX-License-Identifier: Apache-2.0
//! Finds the program inside the container, as the user who will run it, and says what is wrong in runc's words:
//! engines read them to choose between exit codes 126 and 127.

use std::ffi::CString;
use std::io;

use boxlite_protocol::plan::Process;
use rustix::fs::{Access, FileType};
use rustix::io::Errno;

use crate::error::{Fault, errno_words, words};

/// Ready for execve.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
}

impl Program {
    /// Writes to the program's own standard error why it was not executed. The descriptor may be closed or full:
    /// there is nobody else to tell.
    pub(crate) fn complain(&self, error: &io::Error) {
        let text = format!("exec {}: {}\n", self.path.to_string_lossy(), words(error));
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    }
}

/// Changes to the working directory.
pub(crate) fn enter_directory(cwd: &str) -> Result<(), Fault> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    rustix::process::chdir(cwd).map_err(|error| {
        Fault::program(format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", errno_words(error)))
    })
}

/// A working directory reached through a descriptor left open would be outside the container.
pub(crate) fn directory_is_inside() -> Result<(), Fault> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Fault::program(
            "current working directory is outside of container mount namespace root".to_owned(),
        )),
        Err(error) => Err(Fault::system("getcwd", error)),
    }
}

/// Finds what to execute. `home` is added to the environment when given.
pub(crate) fn resolve(process: &Process, home: Option<&str>) -> Result<Program, Fault> {
    let Some(name) = process.args.first() else {
        return Err(Fault::program("args must not be empty".to_owned()));
    };
    let search = process.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    let path = look_up(name, search).map_err(Fault::program)?;
    let list =
        |strings: &[String]| strings.iter().map(|string| c_string(string)).collect::<Result<Vec<_>, _>>();
    let mut environment = list(&process.env)?;
    if let Some(home) = home {
        environment.push(c_string(&format!("HOME={home}"))?);
    }
    Ok(Program { path: c_string(&path)?, arguments: list(&process.args)?, environment })
}

fn c_string(text: &str) -> Result<CString, Fault> {
    CString::new(text).map_err(|_| Fault::program("argument or environment with NUL".to_owned()))
}

fn look_up(name: &str, search: &str) -> Result<String, String> {
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Errno::NOENT) => Err(format!("exec: {name:?}: stat {name}: no such file or directory")),
            Err(error) => Err(format!("exec: {name:?}: {}", errno_words(error))),
        };
    }
    let found = search.split(':').filter(|_| !name.is_empty()).find_map(|directory| {
        let candidate = match directory {
            "" => format!("./{name}"),
            directory => format!("{}/{name}", directory.trim_end_matches('/')),
        };
        executable(&candidate).is_ok().then_some(candidate)
    });
    found.ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn executable(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(Errno::ACCESS);
    }
    match rustix::fs::access(path, Access::EXEC_OK) {
        // A seccomp filter that knows no such call leaves the answer to execve.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn place() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        fs::write(directory.path().join("tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(directory.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("plain"), "").unwrap();
        (directory, path)
    }

    #[test]
    fn name_is_searched_in_path() {
        let (_directory, path) = place();
        assert_eq!(look_up("tool", &format!("/nowhere:{path}/")).unwrap(), format!("{path}/tool"));
    }

    #[test]
    fn missing_programs_are_told_as_runc_tells_them() {
        let (_directory, path) = place();
        let not_in_path = "exec: \"foo\": executable file not found in $PATH";
        assert_eq!(look_up("foo", &path).unwrap_err(), not_in_path);
        assert_eq!(look_up("foo", "").unwrap_err(), not_in_path);
        assert_eq!(
            look_up("/foo", &path).unwrap_err(),
            "exec: \"/foo\": stat /foo: no such file or directory"
        );
        assert_eq!(look_up("", &path).unwrap_err(), "exec: \"\": executable file not found in $PATH");
    }

    #[test]
    fn what_cannot_run_is_told_as_runc_tells_it() {
        let (_directory, path) = place();
        assert_eq!(look_up("/etc", "").unwrap_err(), "exec: \"/etc\": is a directory");
        let plain = format!("{path}/plain");
        assert_eq!(look_up(&plain, "").unwrap_err(), format!("exec: \"{plain}\": permission denied"));
        let below = look_up(&format!("{plain}/x"), "").unwrap_err();
        assert!(below.ends_with("not a directory"), "{below}");
    }
}
