"""Regression tests for inputs found by `make fuzz`."""

from chat_protocol.dialects.detect import DialectDetector


def test_a_first_object_that_comes_slowly_is_kept_once() -> None:
    # Given a first read that begins an object
    sniffer = DialectDetector()
    sniffer.receive(b'{"message":"' + b"x" * 60_000)
    # Then only the splitter buffers it
    assert sniffer._objects is not None
    assert len(sniffer._objects.peek_unfinished()) > 60_000
    assert not sniffer._first_line
