"""Output files: links, FIFOs, devices, descriptors, modes, full disks."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from chat_cli import output_file
from chat_cli.output_file import create_file, find_problem, write_file

NOT_ROOT = os.geteuid() != 0
NOBODY = 65534


@pytest.fixture(params=["relative", "absolute"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path() if request.param == "relative" else tmp_path


def only(folder: Path, *names: str) -> None:
    """Assert that no temporary file is left."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_new_file_has_the_mode_of_the_umask(folder: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(folder / "new", b"text")
    finally:
        os.umask(before)
    assert (folder / "new").read_bytes() == b"text"
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o640
    only(folder, "new")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o755])
def test_file_keeps_its_mode_and_the_old_one_is_replaced(folder: Path, mode: int) -> None:
    target = folder / "page"
    target.write_text("old and longer")
    target.chmod(mode)
    with target.open() as old:
        write_file(target, b"new")
        assert old.read() == "old and longer"  # a reader of the old one has all of it
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    only(folder, "page")


@pytest.mark.skipif(NOT_ROOT, reason="only root can give a file to another user")
def test_file_keeps_its_owner(folder: Path) -> None:
    target = folder / "page"
    target.write_text("old")
    os.chown(target, 1234, 4321)
    write_file(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (1234, 4321)
    only(folder, "page")


@pytest.mark.parametrize("real", ["real", "missing"])
def test_link_is_written_through(folder: Path, real: str) -> None:
    (folder / "below").mkdir()
    if real == "real":
        (folder / "below/real").write_text("old")
        (folder / "below/real").chmod(0o600)
    (folder / "link").symlink_to(Path("below") / real)
    (folder / "link2").symlink_to("link")
    write_file(folder / "link2", b"new")
    assert (folder / "link").is_symlink()
    assert (folder / "link2").is_symlink()
    assert (folder / "below" / real).read_bytes() == b"new"
    if real == "real":
        assert stat.S_IMODE((folder / "below/real").stat().st_mode) == 0o600
    only(folder / "below", real)


def test_both_names_of_a_hard_link_have_the_new_content(folder: Path) -> None:
    (folder / "a").write_text("old and longer")
    os.link(folder / "a", folder / "b")
    write_file(folder / "a", b"new")
    assert (folder / "b").read_bytes() == b"new"
    only(folder, "a", "b")


def test_fifo_is_written_to_and_remains(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((folder / "fifo").read_bytes()))
    reader.start()
    write_file(folder / "fifo", b"x" * 200_000)
    reader.join(30)
    assert found == [b"x" * 200_000]
    assert stat.S_ISFIFO((folder / "fifo").stat().st_mode)
    only(folder, "fifo")


def test_link_to_a_device_is_written_through(folder: Path) -> None:
    # A link, so that a mistake replaces the link and not the machine's device.
    (folder / "full").symlink_to("/dev/full")
    (folder / "null").symlink_to("/dev/null")
    write_file(folder / "null", b"new")
    with pytest.raises(OSError, match="No space left"):
        write_file(folder / "full", b"new")
    assert (folder / "full").is_symlink()
    assert (folder / "null").is_symlink()
    for device in ("/dev/full", "/dev/null"):
        assert stat.S_ISCHR(Path(device).stat().st_mode)
    only(folder, "full", "null")


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_descriptor_by_name_is_written_at_its_place(folder: Path, name: str) -> None:
    log = folder / "log"
    log.write_text("before\n")
    (folder / "link").unlink(missing_ok=True)
    with log.open("ab") as appended:
        (folder / "link").symlink_to(f"/proc/self/fd/{appended.fileno()}")
        path = str(folder / "link") if name == "link" else name.format(appended.fileno())
        write_file(path, b"page\n")
        appended.write(b"after\n")
    assert log.read_bytes() == b"before\npage\nafter\n"


def test_pipe_by_name_is_written_to() -> None:
    reader, writer = os.pipe()
    write_file(f"/dev/fd/{writer}", b"page")
    os.close(writer)
    assert os.read(reader, 100) == b"page"
    os.close(reader)


def test_stdout_of_a_process_is_appended_to(tmp_path: Path) -> None:
    code = (
        "from chat_cli.output_file import write_file\n"
        "print('before', flush=True)\nwrite_file('/dev/stdout', b'page\\n')\nprint('after')"
    )
    out = tmp_path / "out"
    out.write_text("first\n")
    with out.open("ab") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert out.read_text() == "first\nbefore\npage\nafter\n"


def test_folder_and_missing_folder_are_refused(folder: Path) -> None:
    (folder / "below").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(folder / "below", b"new")
    with pytest.raises(FileNotFoundError):
        write_file(folder / "none" / "new", b"new")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(folder / "loop", b"new")
    only(folder, "below", "loop")


@pytest.mark.parametrize("hard_link", [False, True])
def test_full_disk_leaves_the_old_content(folder: Path, *, hard_link: bool) -> None:
    """A limit of the file's size fails as a full disk does: with part of the file written."""
    target = folder / "page"
    target.write_text("old")
    target.chmod(0o600)
    if hard_link:
        os.link(target, folder / "b")
    code = (
        "import resource, signal, sys\nfrom chat_cli.output_file import write_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_file(sys.argv[1], b'x' * 100_000)\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "File too large\n"
    assert target.read_text() == "old"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    only(folder, "page", *(["b"] if hard_link else []))


def test_longest_file_name_can_be_written(folder: Path) -> None:
    name = "p" * 255
    write_file(folder / name, b"new")
    write_file(folder / name, b"newer")
    assert (folder / name).read_bytes() == b"newer"
    only(folder, name)


@pytest.mark.skipif(NOT_ROOT, reason="only root can become another user")
def test_folder_that_cannot_be_written_but_the_file_can() -> None:
    """A user may write to a file of another one, in a folder that is not theirs."""
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "page"
        target.write_text("old and longer")
        target.chmod(0o666)
        Path(name).chmod(0o755)
        process = os.fork()
        if process == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                write_file(target, b"new")
                os._exit(0)
            except BaseException:  # noqa: BLE001  the child must end here
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        assert target.read_bytes() == b"new"
        assert target.stat().st_uid == 0
        only(Path(name), "page")


def test_interrupted_write_leaves_no_temporary_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(output_file, "_write_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_file(folder / "new", b"new")
    only(folder)


def test_created_file_is_complete_or_absent(folder: Path) -> None:
    create_file(folder / "key", b"secret", 0o600)
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_file(folder / "key", b"other", 0o600)
    assert (folder / "key").read_bytes() == b"secret"
    only(folder, "key")


def test_problems_are_known_in_advance(folder: Path) -> None:
    (folder / "file").write_text("x")
    assert find_problem(folder / "file") == ""
    assert find_problem(folder / "new") == ""
    assert find_problem("/dev/stdout") == ""
    assert find_problem(folder) == "Is a directory"
    assert find_problem(folder / "none" / "new") == "No such file or directory"
    assert find_problem(folder / "file" / "new") == "Not a directory"
    if NOT_ROOT:
        (folder / "file").chmod(0o400)
        assert find_problem(folder / "file") == "Permission denied"
