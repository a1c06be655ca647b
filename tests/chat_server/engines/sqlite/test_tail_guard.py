from pathlib import Path

import pytest

from chat_server.engines.sqlite import tail_guard
from chat_server.engines.sqlite.tail_guard import TailGuard


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def beside(log: Path) -> Path:
    return log.with_name("log-mark")


def test_guard_matches_log_with_all_recorded_rows(log: Path, beside: Path) -> None:
    one = TailGuard(beside, log)
    one.mark_in_use(5, "e", synced=False)
    one.advance(9)
    other = TailGuard(beside, log)  # the process died; the mapping survives it
    assert other.matches(9, "e")
    assert other.matches(10, "e")  # killed between the commit and `advance`
    assert not other.matches(8, "e")
    assert not other.matches(9, "f")
    one.clean = True
    one.close()
    other.clean = True
    other.close()


def test_guard_without_record_matches_nothing(log: Path, beside: Path) -> None:
    one = TailGuard(beside, log)
    assert not one.matches(0, "e")
    one.clean = True
    one.close()
    beside.write_bytes(b"GRmark00" * 512)
    other = TailGuard(beside, log)
    assert not other.matches(0, "e")
    other.clean = True
    other.close()


def test_guard_does_not_match_replaced_log(log: Path, beside: Path) -> None:
    one = TailGuard(beside, log)
    one.mark_in_use(5, "e", synced=True)
    one.clean = True
    one.close()
    log.rename(log.with_name("old"))
    log.touch()
    other = TailGuard(beside, log)
    assert not other.matches(5, "e")
    other.clean = True
    other.close()


@pytest.mark.parametrize(
    ("clean", "synced", "trusted"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_guard_after_reboot_matches_only_synced_log(
    log: Path, beside: Path, monkeypatch: pytest.MonkeyPatch, *, clean: bool, synced: bool, trusted: bool
) -> None:
    one = TailGuard(beside, log)
    one.mark_in_use(5, "e", synced=synced)
    one.clean = clean
    one.close()
    other = TailGuard(beside, log)
    assert other.matches(5, "e")  # the same boot
    monkeypatch.setattr(tail_guard, "boot_id", lambda: "another boot")
    assert other.matches(5, "e") is trusted
    other.clean = True
    other.close()


def test_guard_file_is_allocated_at_once(log: Path, beside: Path) -> None:
    """Writing to a page without disk space behind it would kill the process (SIGBUS)."""
    one = TailGuard(beside, log)
    status = beside.stat()
    one.clean = True
    one.close()
    assert status.st_size == 4096
    assert status.st_blocks > 0
    assert status.st_mode & 0o777 == 0o600
