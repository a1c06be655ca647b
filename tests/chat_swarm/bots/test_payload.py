"""Payload headers are readable by other bots of the same run only."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.bots import payload
from chat_swarm.model.plan import MIN_PAYLOAD_BYTES

RUNS = st.text("abcdefghjkmnpqrstuvwxyz23456789", min_size=1, max_size=payload.RUN_ID_CHARS)
TIMES_NS = st.integers(0, 2**63)


@given(RUNS, st.integers(0, 10**9), TIMES_NS, TIMES_NS, st.integers(0, 8192))
def test_parse_header_reads_what_build_text_wrote(
    run: str, counter: int, planned: int, sent: int, size: int
) -> None:
    text = payload.build_text(run, counter, planned, sent, size)
    assert payload.parse_header(run, text) == (counter, planned, sent)
    assert len(text.encode()) == size if size >= MIN_PAYLOAD_BYTES else len(text) >= size
    assert json.dumps(text) == f'"{text}"'


@given(RUNS, RUNS)
def test_parse_header_of_another_run_is_none(one: str, other: str) -> None:
    text = payload.build_text(one, 1, 2, 3, 100)
    assert (payload.parse_header(other, text) is None) == (one != other)


@given(st.text(max_size=100))
def test_parse_header_of_any_text_is_none(text: str) -> None:
    assert payload.parse_header("k7q", text) is None
    assert payload.parse_header("k7q", f"s1 k7q {text} x y z") is None


def test_parse_header_of_a_truncated_header_is_none() -> None:
    text = payload.build_text("k7q", 1, 2, 3, 0)
    assert payload.parse_header("k7q", text) is not None
    assert all(payload.parse_header("k7q", text[:length]) is None for length in range(len(text)))
