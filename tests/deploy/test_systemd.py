"""The systemd unit is valid, hardened, and matches the server's settings."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from chat_server.settings import load
from chat_server.settings.table import Config
from support.processes.process import BIN_DIR

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
UNIT = (DEPLOY / "greenroom.service").read_text()

Tool = Callable[[str], str]


def of_unit(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def installed(folder: Path) -> Path:
    """Return the unit as it would be where the server is installed: here."""
    path = folder / "greenroom.service"
    path.write_text(UNIT.replace("/opt/greenroom/bin/", f"{BIN_DIR}/"))
    return path


def test_systemd_accepts_the_unit(tool: Tool, tmp_path: Path) -> None:
    command = [tool("systemd-analyze"), "verify", str(installed(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if "greenroom.service" in line]
    assert (done.returncode, about) == (0, [])


def test_unit_exposure_level_is_low(tool: Tool, tmp_path: Path) -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(installed(tmp_path))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"Overall exposure level for greenroom.service: ([\d.]+)", said)
    assert exposure is not None
    assert float(exposure[1]) < 1.6  # of 10; what is left is the network and its own files


def test_unit_leaves_boot_id_readable() -> None:
    # engines/sqlite/tail_guard.py reads /proc/sys/kernel/random/boot_id
    assert of_unit("ProcSubset") == []
    assert Path("/proc/sys/kernel/random/boot_id").exists()


def test_a_graceful_stop_fits_into_the_time_for_it() -> None:
    (seconds,) = of_unit("TimeoutStopSec")
    assert float(seconds) > 2 * (Config().drain_timeout + Config().store_patience)
    assert of_unit("KillSignal") == ["SIGTERM"]
    assert of_unit("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_the_command_and_its_settings_are_those_of_the_server() -> None:
    (command,) = of_unit("ExecStart")
    assert command == "/opt/greenroom/bin/chat-server --config /etc/greenroom/chat-server.toml"
    settings = load.load(["--config", str(DEPLOY / "chat-server.toml")], {})
    (state,), (logs,) = of_unit("StateDirectory"), of_unit("LogsDirectory")
    assert settings.store_path == Path("/var/lib") / state / "greenroom.db"
    assert Path(settings.log_file).parent == Path("/var/log") / logs
    assert f"127.0.0.1:{settings.metrics_port}" in (DEPLOY / "prometheus.yml").read_text()
    assert settings.metrics_host == "127.0.0.1"


def test_it_lives_without_memory_that_is_both_written_and_run(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute=, by the means of the kernel (prctl(2), PR_SET_MDWE, since Linux 6.3)."""
    program = (
        "import ctypes, os, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    server = [
        str(BIN_DIR / "chat-server"),
        "--port",
        "0",
        "--store",
        "memory",
        "--log-file",
        str(tmp_path / "log"),
    ]
    started = subprocess.Popen(
        [sys.executable, "-c", program, *server], stderr=subprocess.PIPE, env={"HOME": str(tmp_path)}
    )
    assert started.stderr is not None
    with started, started.stderr as errors:
        said = errors.readline()
        started.terminate()
        assert said.startswith(b"Greenroom listens") or started.wait() == 77
    assert started.returncode in {0, 77}
