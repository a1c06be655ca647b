"""Missing packages: the sentence, and that bugs of our own imports are not hidden."""

import pytest

from chat_cli.extras import missing_extra


def test_missing_package_is_named_with_the_way_out() -> None:
    error = ModuleNotFoundError("No module named 'numpy.linalg'", name="numpy.linalg")
    assert missing_extra(error, "ops") == (
        "numpy is not installed: run pip install '.[ops]' in the checkout of Greenroom"
    )


@pytest.mark.parametrize("name", ["chat_ops.table", "chat_server", None])
def test_bug_of_our_own_is_raised(name: str | None) -> None:
    with pytest.raises(ImportError):
        missing_extra(ImportError(name=name), "ops")
