"""Allowances by key: an hour's tokens at once, then one after the other; a bounded number of keys."""

import pytest

from chat_server.core.base import bucket_table
from chat_server.core.base.bucket_table import BucketTable


def test_tokens_of_an_hour_may_be_taken_at_once() -> None:
    table = BucketTable()
    for _ in range(4):
        assert table.wait_seconds("a", 1, 4, 0.0) == 0
        table.charge("a", 1, 4, 0.0)
    assert table.wait_seconds("a", 1, 4, 0.0) == 900
    assert table.wait_seconds("a", 3, 4, 0.0) == 2700
    assert table.wait_seconds("a", 99, 4, 0.0) == 3600  # no more than a full bucket
    assert table.wait_seconds("b", 99, 4, 0.0) == 0
    assert table.wait_seconds("a", 1, 4, 900.0) == 0


def test_tokens_can_be_given_back() -> None:
    table = BucketTable()
    table.charge("a", 4, 4, 0.0)
    table.charge("a", -1, 4, 0.0)
    table.charge("b", -1, 4, 0.0)
    assert table.wait_seconds("a", 1, 4, 0.0) == 0
    assert table.wait_seconds("a", 2, 4, 0.0) == 900
    assert len(table) == 1


def test_no_limit_and_another_limit_start_from_full_buckets() -> None:
    table = BucketTable()
    table.charge("a", 4, 4, 0.0)
    assert table.wait_seconds("a", 1, 0, 0.0) == 0
    assert table.wait_seconds("a", 1, 4, 0.0) == 0
    table.charge("a", 9, 0, 0.0)
    assert len(table) == 0


def test_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_table, "MAX_KEYS", 3)
    table = BucketTable()
    for key in "abca":
        table.charge(key, 4, 4, 0.0)
    table.charge("d", 4, 4, 0.0)
    assert len(table) == 3
    assert table.wait_seconds("b", 1, 4, 0.0) == 0  # the least recently used was dropped
    assert table.wait_seconds("a", 1, 4, 0.0) > 0
    table.charge("e", 1, 4, 7200.0)  # and those that are full again
    assert len(table) == 1
