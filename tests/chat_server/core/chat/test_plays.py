"""Random plays of the whole core come out as they were recorded, to the last byte (support/plays).

A digest that differs means that the core behaves differently: that peers receive other bytes, that the store
holds other rows, or that the state has changed otherwise. What changes on purpose is recorded again.
"""

import pytest

from support.plays import digests

BLOCK = 50


@pytest.mark.parametrize("first", range(digests.SEEDS.start, digests.SEEDS.stop, BLOCK))
def test_play_comes_out_as_recorded(first: int) -> None:
    recorded = digests.recorded()
    differing = [seed for seed in range(first, first + BLOCK) if digests.digest(seed) != recorded[seed]]
    assert not differing, (
        f"seed {differing[0]} plays differently. Its transcript: "
        f"PYTHONPATH=tests python -m support.plays {differing[0]}; the difference to another version: "
        f"PYTHONPATH=tests python -m support.plays --compare CHECKOUT --seeds {differing[0]}; "
        "if the change is intended: PYTHONPATH=tests python -m support.plays --record"
    )
