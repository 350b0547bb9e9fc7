# SPDX-License-Identifier: Apache-2.0
"""The pid that an engine tells is the container's: files, name, signals, end.

Tools take /proc/PID/root for the container's root directory. Under runc that is
so because the process is in the container; here a process of the host stands
for it, and must never show the host.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.engines import command, images, processes
from tests.engines.ctr import Ctr
from tests.engines.docker import Docker
from tests.engines.pair import Pair
from tests.engines.waiting import until
from tests.system.both import Both, assert_equal

#: Ends at once when it is told to, and says which signal it got.
LISTENS = (
    "sh",
    "-c",
    "trap 'exit 7' HUP; trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
)

#: Seconds within which what was done to the pid has reached the engine.
SOON = 5.0


def pid_of(docker: Docker, container: str) -> int:
    return int(docker.state(container)["Pid"])


@pytest.mark.core
def test_its_root_is_the_containers_and_not_the_hosts(
    both: Both, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("volume\n")
    options = ("-v", f"{tmp_path}:/data", "--tmpfs", "/scratch", "--hostname", "named")

    def scenario(docker: Docker) -> object:
        with docker.container(*options) as container:
            docker.exec(container, "sh", "-c", "echo inside > /marker").ok()
            root = Path(f"/proc/{pid_of(docker, container)}/root")
            assert not root.samefile("/"), "it is the host's root directory"
            until("what the container wrote is seen", (root / "marker").exists)
            (root / "from-host").write_text("host\n")
            (root / "data/from-host").write_text("host\n")
            read = docker.exec(container, "cat", "/from-host", "/data/from-host")
            return (
                (root / "marker").read_text(),
                (root / "etc/hostname").read_text(),
                (root / "data/file").read_text(),
                (root / "data").samefile(tmp_path),
                read.ok().lines,
            )

    assert both.same(scenario) == (
        "inside\n", "named\n", "volume\n", True, ["host", "host"],
    )  # fmt: skip
    assert not Path("/from-host").exists()


def test_a_read_only_root_is_read_only_there(both: Both) -> None:
    def scenario(docker: Docker) -> bool:
        with docker.container("--read-only") as container:
            root = Path(f"/proc/{pid_of(docker, container)}/root")
            try:
                (root / "from-host").write_text("x")
            except OSError as error:
                return error.errno == 30
            return False

    assert both.same(scenario) is True


@pytest.mark.boxlite_only
def test_what_only_the_guest_has_takes_nothing_from_the_host(docker: Docker) -> None:
    with docker.container("--tmpfs", "/scratch") as container:
        root = Path(f"/proc/{pid_of(docker, container)}/root")
        for path in ("scratch/x", "proc/x", "dev/x", "dev/shm/x"):
            with pytest.raises(OSError):
                (root / path).write_text("would be lost")


@pytest.mark.boxlite_only
def test_a_link_of_the_image_leads_no_tool_to_the_host(docker: Docker) -> None:
    with docker.container() as container:
        docker.exec(container, "ln", "-s", "../../../../../etc", "/away").ok()
        pid = pid_of(docker, container)
        # As a tool does that enters the root before it follows anything.
        script = "import os,sys; os.chroot(sys.argv[1]); print(os.listdir('/away'))"
        seen = command.run(["/usr/bin/python3", "-c", script, f"/proc/{pid}/root"])
        assert "'hostname'" in seen.ok().text and "'shadow'" not in seen.text


@pytest.mark.core
def test_it_is_called_as_the_first_process_is(both: Both) -> None:
    def scenario(docker: Docker) -> object:
        with docker.container("--user", "1234", argv=("sleep", "600")) as container:
            pid = pid_of(docker, container)
            status = Path(f"/proc/{pid}/status").read_text()
            top = docker("top", container, "-o", "pid,uid,comm,args").ok()
            return (
                Path(f"/proc/{pid}/cmdline").read_bytes(),
                [line for line in status.splitlines() if line.startswith("Uid:")],
                [line.split()[1:] for line in top.lines[1:]],
            )

    found = both.same(scenario)
    assert isinstance(found, tuple) and found[0] == b"sleep\x00600\x00"


@pytest.mark.core
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 7), (signal.SIGTERM, 9), (signal.SIGKILL, 137)]
)
def test_a_signal_to_it_is_one_to_the_first_process(
    both: Both, number: signal.Signals, code: int
) -> None:
    def scenario(docker: Docker) -> int:
        with docker.container(argv=LISTENS) as container:
            until("it listens", lambda: docker("logs", container).text == "up")
            os.kill(pid_of(docker, container), number)
            return docker.wait(container)

    assert both.same(scenario) == code


@pytest.mark.boxlite_only
def test_stopping_it_stops_nothing_else(docker: Docker) -> None:
    with docker.container() as container:
        pid = pid_of(docker, container)
        os.kill(pid, signal.SIGSTOP)
        assert docker.exec(container, "echo", "runs").ok().text == "runs"
        docker("stop", "-t", "5", container).ok()
        until("it is gone", lambda: not processes.alive(pid), SOON)


@pytest.mark.core
@pytest.mark.boxlite_only
def test_it_can_do_nothing_and_ends_with_the_container(
    docker: Docker, pair: Pair
) -> None:
    with docker.container("--privileged") as container:
        (double,) = processes.doubles(pair.run_directory)
        assert double.pid == pid_of(docker, container)
        fields = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{double.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(fields[name], 16) == 0, name
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
        network = Path(f"/proc/{double.pid}/ns/net").stat().st_ino
        assert network != Path("/proc/self/ns/net").stat().st_ino
        assert container in Path(f"/proc/{double.pid}/cgroup").read_text()
        docker("stop", "-t", "0", container).ok()
        until("it is gone", lambda: not processes.alive(double.pid), SOON)


@pytest.mark.core
def test_ctrs_pid_has_the_containers_root(ctrs: tuple[Ctr, Ctr]) -> None:
    def scenario(ctr: Ctr) -> object:
        name = ctr.name()
        words = ctr.run_words(name, "sleep", "600", options=("--detach",))
        ctr(*words).ok()
        try:
            listed = ctr("task", "ls").ok().lines
            pid = next(line.split()[1] for line in listed if line.startswith(name))
            root = Path(f"/proc/{pid}/root")
            assert not root.samefile("/")
            return sorted(entry.name for entry in root.iterdir())
        finally:
            ctr("task", "kill", "--signal", "KILL", name)
            until("it has ended", lambda: "RUNNING" not in _row(ctr, name))
            ctr("task", "rm", name)
            ctr("container", "rm", name)

    expected, found = (scenario(ctr) for ctr in ctrs)
    assert_equal(ctrs[1].runtime, found, ctrs[0].runtime, expected)


def _row(ctr: Ctr, name: str) -> str:
    return next((x for x in ctr("task", "ls").lines if x.startswith(name)), "")


@pytest.mark.boxlite_only
def test_nerdctl_cp_meets_the_container_both_ways(pair: Pair, tmp_path: Path) -> None:
    nerdctl = shutil.which("nerdctl")
    if nerdctl is None:
        pytest.skip("no nerdctl on PATH; it cannot be installed from a package here")
    ctr = Ctr(pair, "boxlite")
    words: list[command.Word] = [
        nerdctl, "--address", pair.containerd_socket, "--namespace", ctr.namespace,
    ]  # fmt: skip

    def run(*more: command.Word) -> command.Result:
        return command.run([*words, *more])

    volume, source = tmp_path / "volume", tmp_path / "source"
    volume.mkdir()
    source.write_text("from the host\n")
    name = ctr.name()
    run(
        "run", "--detach", "--name", name, "--net", "none", "--runtime",
        "io.containerd.boxlite.v1", "--volume", f"{volume}:/data", images.IMAGE,
        "sh", "-c", "mkdir /way; ln -s /way /link; echo made > /made; sleep 600",
    ).ok()  # fmt: skip
    try:
        marker = f"boxlite-cp-{os.getpid()}"
        for place in ("/tmp", "/data", "/link"):
            run("cp", str(source), f"{name}:{place}/{marker}").ok()
            assert run("exec", name, "cat", f"{place}/{marker}").ok().text
            assert not Path(place, marker).exists(), "the host's was written"
        run("cp", f"{name}:/made", str(tmp_path / "made")).ok()
        assert (tmp_path / "made").read_text() == "made\n"
        run("stop", "--time", "1", name).ok()
        run("cp", str(source), f"{name}:/after").ok()
        run("cp", f"{name}:/after", str(tmp_path / "after")).ok()
        assert (tmp_path / "after").read_text() == "from the host\n"
    finally:
        run("rm", "--force", name)
