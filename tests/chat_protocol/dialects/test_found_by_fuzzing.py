"""Regression tests for inputs found by `make fuzz`."""

from chat_protocol.dialects.detect import DialectDetector


def test_detector_first_object_in_pieces_is_buffered_once() -> None:
    # Given a first read that begins an object
    detector = DialectDetector()
    detector.receive(b'{"message":"' + b"x" * 60_000)
    # Then only the splitter buffers it
    assert detector._objects is not None
    assert len(detector._objects.peek_unfinished()) > 60_000
    assert not detector._first_line
