import os
import pwd
from pathlib import Path

import pytest

from chat_client.options.state_folder import state_folder

ACCOUNT = Path(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, Path("/x/greenroom")),
        ({"HOME": "/h"}, Path("/h/.local/state/greenroom")),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, Path("/h/.local/state/greenroom")),
        ({"HOME": "relative"}, ACCOUNT / ".local/state/greenroom"),
        ({"HOME": ""}, ACCOUNT / ".local/state/greenroom"),
        ({}, ACCOUNT / ".local/state/greenroom"),
    ],
    ids=str,
)
def test_folder_is_absolute(environ: dict[str, str], folder: Path) -> None:
    assert state_folder(environ) == folder


def test_user_without_an_account_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert state_folder({}) is None
    assert state_folder({"HOME": "relative"}) is None
