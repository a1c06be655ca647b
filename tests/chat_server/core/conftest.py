"""The core with fakes for its ports: a manual clock, outboxes that decode frames, a store that can fail.

The core waits in `Link.wait`. Here that runs `Stage.during_wait` first, and then commits until the signal is
set: so every switch of greenlets that the core allows is a line in a test.
"""

from __future__ import annotations

import pytest

from chat_protocol.dialects.base import Encoding
from chat_protocol.dialects.table import ENCODINGS
from support.core_stage.clock import Clock
from support.core_stage.stage import Stage


@pytest.fixture(scope="session")
def make_stage() -> type[Stage]:
    """For tests that want more than one, or settings of their own."""
    return Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(params=ENCODINGS, ids=lambda each: each.dialect)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    one: Encoding = request.param
    return one


@pytest.fixture(scope="session")
def make_clock() -> type[Clock]:
    return Clock
