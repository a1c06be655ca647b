import pytest

from chat_protocol.errors import NO_RECONNECT_REASONS, ByeReason, ErrorCode, Fault, Refused


def test_error_codes_are_those_of_the_protocol() -> None:
    assert {code.value for code in ErrorCode} == {
        *("bad_frame", "unknown_type", "invalid_field", "frame_too_large", "name_taken", "name_invalid"),
        *("hello_first", "already_named", "not_joined", "no_such_room", "no_such_user", "rate_limited"),
        *("too_many", "forbidden", "unavailable", "internal"),
    }


def test_bye_reasons_are_those_of_the_protocol() -> None:
    assert {reason.value for reason in ByeReason} == {
        *("quit", "shutdown", "timeout", "stalled", "frame_too_large", "flooding", "replaced", "kicked"),
        *("too_many_connections", "hello_timeout"),
    }


def test_no_reconnect_reasons_include_replaced_and_kicked() -> None:
    assert {ByeReason.REPLACED, ByeReason.KICKED} <= NO_RECONNECT_REASONS
    assert ByeReason.SHUTDOWN not in NO_RECONNECT_REASONS
    assert ByeReason.TIMEOUT not in NO_RECONNECT_REASONS


def test_fault_by_default_does_not_end_the_connection() -> None:
    fault = Fault(ErrorCode.BAD_FRAME, "no")
    assert fault.bye is None
    assert not fault.close


def test_refusal_carries_code_message_and_retry_after() -> None:
    with pytest.raises(Refused, match="slower") as raised:
        raise Refused(ErrorCode.RATE_LIMITED, "slower", retry_after=1.5)
    assert (raised.value.code, raised.value.message, raised.value.retry_after) == (
        "rate_limited",
        "slower",
        1.5,
    )
