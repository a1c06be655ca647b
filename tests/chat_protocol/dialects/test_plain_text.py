import re
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from chat_protocol import events
from chat_protocol.characters import INVISIBLE
from chat_protocol.commands import Help, Message, Quit, Rename, Rooms, Switch, Who
from chat_protocol.dialects import plain_text
from chat_protocol.dialects.base import Incoming
from chat_protocol.dialects.ndjson import FRAME_TOO_LARGE
from chat_protocol.dialects.plain_text import PlainTextCodec, decode_line, encode, encode_messages
from chat_protocol.errors import ByeReason, ErrorCode, Fault
from chat_protocol.framing.lines import MAX_FRAME_BYTES
from chat_protocol.message_text import MAX_MESSAGE_BYTES

INDENT = "    "
HOSTILE = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.sampled_from("\n\r\t\v\f\0\b\x1b\x1c\x1e\x7f\x85\x9b\u2028\u2029[]* :"),
    max_size=30,
)
LINES: list[tuple[bytes, Incoming | None]] = [
    (b"hello there\n", Message(message="hello there")),
    (b"hello\r\n", Message(message="hello")),
    ("  é 字\n".encode(), Message(message="  é 字")),
    (b"\n", None),
    (b" \t\r\n", None),
    (b"\xff\xfb\x1f\xff\xfd\x03hi\r\n", Message(message="hi")),
    (b"h\xff\xf1i \xff\xfa\x1f\x00\x50\x00\x18\xff\xf0there\r\n", Message(message="hi there")),
    (b"hi \xff\xfa\x1f\x00\x50\x00\n\xff\xff/\xff\xf0there\r\0", Message(message="hi there")),
    (b"h\xc3\xa9\xff\xf7i\xff\xf2\n", Message(message="hi")),
    (b"/msg bob secret\xff\xf8hi\n", Message(message="hi")),
    (b"/nick ann\n", Rename(username="ann")),
    (b"/NICK  ann \n", Rename(username="ann")),
    (b"/join dev\n", Switch(room="dev")),
    (b"/who\n", Who()),
    (b"/rooms\n", Rooms()),
    (b"/help\n", Help()),
    (b"/msg bob  hi  there \n", Message(message="hi  there", to="bob")),
    (b"//etc/passwd\n", Message(message="/etc/passwd")),
    (b" /help\n", Help()),
    (b"\t \t/msg\tbob  hi  there\n", Message(message="hi  there", to="bob")),
    ("\xa0/msg\xa0bob\u3000psst\n".encode(), Message(message="psst", to="bob")),
    ("\ufeff/msg bob psst\n".encode(), Message(message="psst", to="bob")),
    ("\u200b\u2060\u3164\u2800 /join dev\n".encode(), Switch(room="dev")),
    (b"  //x\n", Message(message="/x")),
    ("\ufeffhello\n".encode(), Message(message="hello")),
    ("\u200b \ufeff\n".encode(), None),
    ("\ufeff bye\u200b\n".encode(), Quit()),
    (b"bye bye\n", Message(message="bye bye")),
    (b"byebye\n", Message(message="byebye")),
    ("\uff0fo\\ hi\n".encode(), Message(message="\uff0fo\\ hi")),
    (b"goodbye\n", Message(message="goodbye")),
    (b"bye\n", Quit()),
    (b"quit\r\n", Quit()),
    (b" bye \n", Quit()),
    (b"/quit\n", Quit()),
]


def fed(pieces: list[bytes]) -> list[Incoming]:
    codec = PlainTextCodec()
    found = [found for piece in pieces for found in codec.receive(piece)]
    return [*found, *codec.receive_eof()]


def test_plain_text_line_may_end_like_a_terminal_s() -> None:
    for stream in (b"one\rtwo\r\0three\r\nfour\n", b"one\ntwo\nthree\nfour\n"):
        for pieces in ([stream], [bytes([byte]) for byte in stream]):
            assert fed(pieces) == [Message(message=each) for each in ("one", "two", "three", "four")]


def fault_of(line: bytes) -> Fault:
    found = decode_line(line)
    assert isinstance(found, Fault)
    return found


def message(
    body: str, username: str = "ann", timestamp: float = 50_580.0, room: str = "lobby"
) -> events.MessageEvent:
    return events.MessageEvent(
        room=room, seq=1, sender="id", username=username, message=body, timestamp=timestamp, origin="client"
    )


def test_plain_text_decoding_does_not_depend_on_reads() -> None:
    stream = b"".join(line for line, _ in LINES)
    expected = [command for _, command in LINES if command is not None]
    assert fed([stream]) == expected
    assert fed([bytes([byte]) for byte in stream]) == expected
    for place in range(len(stream)):
        assert fed([stream[:place], stream[place:]]) == expected


@pytest.mark.parametrize(("line", "command"), LINES)
def test_plain_text_unfinished_line_is_kept(line: bytes, command: Incoming | None) -> None:
    codec = PlainTextCodec()
    assert codec.receive(line + b"ta") == ([] if command is None else [command])
    assert codec.receive(b"il\n") == [Message(message="tail")]
    assert codec.receive_eof() == []


@pytest.mark.parametrize(("line", "command"), LINES)
def test_plain_text_last_line_without_newline_is_decoded_at_eof(
    line: bytes, command: Incoming | None
) -> None:
    assert fed([line.removesuffix(b"\n")]) == ([] if command is None else [command])


@pytest.mark.parametrize(
    "line", [b"/nick", b"/nick ", b"/join", b"/msg", b"/msg bob", b"/msg bob ", b" /msg\tbob", b"/MSG"]
)
def test_plain_text_command_without_argument_is_a_fault_with_usage(line: bytes) -> None:
    fault = fault_of(line)
    assert fault.code == ErrorCode.INVALID_FIELD
    assert line.split()[0].decode().lower() in fault.message


@pytest.mark.parametrize("slash", ["\uff0f", "\u2044", "\u2215"])
def test_plain_text_command_after_another_slash_is_refused_with_a_hint(slash: str) -> None:
    for line in (f"{slash}msg bob secret", f" {slash}MSG bob secret", f"{slash}quit"):
        fault = fault_of(line.encode())
        assert fault.code == ErrorCode.INVALID_FIELD
        assert "U+002F" in fault.message


@given(
    st.text(
        st.sampled_from(
            " \t\xa0\u1680\u2003\u2028\u3000\u200b\u200c\u200d\u200e\u2060\ufeff\ufe0f\xad\u3164\u2800"
        ),
        max_size=6,
    ),
    st.sampled_from(
        [b"/msg bob secret", b"/msg bob", b"/mgs bob secret", b"/ msg bob secret", b"/nick", b"/join x"]
    ),
)
def test_plain_text_command_behind_blanks_is_never_said(blanks: str, line: bytes) -> None:
    found = decode_line(blanks.encode() + line)
    assert found == decode_line(line)
    assert not isinstance(found, Message) or found.to == "bob"


@pytest.mark.parametrize(
    "line",
    [
        b"/",
        b"/ who",
        b"/\t",
        b"/\xe2\x80\x8bwho",
        b"/dance",
        b"/etc/passwd",
        b"/" + b"x" * 60_000,
        b"/\x1b[2J\r\x00",
    ],
)
def test_plain_text_unknown_command_is_a_fault(line: bytes) -> None:
    fault = fault_of(line)
    assert fault.code == ErrorCode.UNKNOWN_TYPE
    assert len(fault.message) < 100
    assert b"\x1b" not in encode(events.Error(code=fault.code, message=fault.message))


@pytest.mark.parametrize("line", [b"\xc3", b"\xed\xa0\x80", b"\xff", b"\xff\xff", b"caf\xe9"])
def test_plain_text_line_not_utf8_is_a_fault_and_the_next_is_decoded(line: bytes) -> None:
    found = fed([line + b"\nhi\n"])
    assert found == [fault_of(line), Message(message="hi")]
    assert fault_of(line).code == ErrorCode.BAD_FRAME


def test_telnet_negotiation_anywhere_in_a_line_is_removed() -> None:
    for option in range(256):
        for verb in (b"\xfb", b"\xfc", b"\xfd", b"\xfe"):
            assert fed([b"h\xff" + verb + bytes([option]) + b"i\n"]) == [Message(message="hi")]
    for command in {*range(0xEC, 0xFA)} - {0xF7, 0xF8}:
        assert fed([b"h\xff" + bytes([command]) + b"i\n"]) == [Message(message="hi")]
    for erasure in (0xF7, 0xF8):
        assert fed([b"h\xff" + bytes([erasure]) + b"i\n"]) == [Message(message="i")]


def test_plain_text_codec_answers_telnet_requests() -> None:
    codec = PlainTextCodec()

    def exchange(data: bytes) -> tuple[list[Incoming], bool, bytes]:
        return list(codec.receive(data)), codec.has_output, codec.output()

    assert exchange(b"hi\n") == ([Message(message="hi")], False, b"")
    # Given Ctrl-C in telnet: interrupt process, data mark, DO TIMING-MARK, whose answer it waits for
    assert exchange(b"\xff\xf4\xff\xf2\xff\xfd") == ([], False, b"")
    assert exchange(b"\x06again\n") == ([Message(message="again")], True, b"\xff\xfc\x06")
    assert exchange(b"bye\n") == ([Quit()], False, b"")


@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
def test_plain_text_endless_subnegotiation_is_a_fault_with_bye(step: int) -> None:
    stream = b"hi\n\xff\xfa" + b"\n" * (MAX_FRAME_BYTES + 1) + b"\xff\xf0hi\n"
    found = fed([stream[at : at + step] for at in range(0, len(stream), step)])
    assert found == [Message(message="hi"), FRAME_TOO_LARGE]


@given(st.binary() | st.text("/ nickmsgjo\xff\0").map(str.encode))
def test_plain_text_any_line_is_a_command_a_fault_or_none(line: bytes) -> None:
    found = decode_line(line)
    assert found is None or isinstance(found, typing.get_args(Incoming))


@pytest.mark.parametrize("step", [1, 1000, 2 * MAX_FRAME_BYTES])
def test_plain_text_line_over_65_536_bytes_is_a_fault_with_bye(step: int) -> None:
    for size in (MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1):
        stream = b"hi\n" + b"x" * size + b"\r\nhi\n"
        found = fed([stream[at : at + step] for at in range(0, len(stream), step)])
        hi, large = Message(message="hi"), Message(message="x" * size)
        assert found == ([hi, large, hi] if size == MAX_FRAME_BYTES else [hi, FRAME_TOO_LARGE])


def test_plain_text_overflow_is_reported_once() -> None:
    codec = PlainTextCodec()
    assert codec.receive(b"x" * (MAX_FRAME_BYTES + 1)) == [FRAME_TOO_LARGE]
    assert codec.receive(b"x\nhi\n") == []
    assert codec.receive_eof() == []


def test_plain_text_message_has_its_time_in_utc() -> None:
    assert encode(message("hi")) == b"[14:03] ann: hi\n"
    assert encode(message("hi", timestamp=0)) == b"[00:00] ann: hi\n"
    assert encode(message("hi", timestamp=86_399.999)) == b"[23:59] ann: hi\n"
    assert encode(message("hi", timestamp=1_700_000_000.5)) == b"[22:13] ann: hi\n"


def test_plain_text_message_of_a_conversation_is_marked_private() -> None:
    assert encode(message("hi", room="@ann,bob")) == b"[14:03] (private @ann,bob) ann: hi\n"


def test_plain_text_continuation_lines_are_indented() -> None:
    assert encode(message("a\n[14:03] bob: b\n")) == b"[14:03] ann: a\n    [14:03] bob: b\n    \n"


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_plain_text_every_line_break_is_indented(end: str) -> None:
    assert encode(message(f"a{end}b")).decode() == f"[14:03] ann: a\n{INDENT}b\n"


@given(HOSTILE)
def test_plain_text_message_cannot_forge_a_line_or_move_the_cursor(body: str) -> None:
    written = encode(message(body)).decode()
    first, *further = written.removesuffix("\n").splitlines() or [""]
    assert first.startswith("[14:03] ann: ")
    assert all(line.startswith(INDENT) for line in further)
    assert written.endswith("\n")
    assert all(char in "\n\t" or ord(char) >= 0x20 for char in written)
    assert not any(0x7F <= ord(char) < 0xA0 for char in written)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Mn", "Zl", "Zp")) | st.just("\t")))
def test_plain_text_printable_message_is_unchanged(body: str) -> None:
    body = INVISIBLE.sub("", body)
    assert encode(message(body)).decode() == f"[14:03] ann: {body}\n"


@pytest.mark.parametrize(
    "char",
    "\u202a\u202e\u2066\u2069\u200b\u200e\u200f\u061c\u2060\ufeff\xad\u034f\u3164\ufff9\U000e0041\x1b\x00\x9b\x7f",
    ids=ascii,
)
def test_plain_text_shows_what_turns_hides_or_acts_as_replaced(char: str) -> None:
    shown = "a\ufffdb"
    assert encode(message(f"a{char}b")).decode() == f"[14:03] ann: {shown}\n"
    assert encode(events.Notice(text=f"a{char}b")).decode() == f"* {shown}\n"
    error = events.Error(code=ErrorCode.NO_SUCH_USER, message=f"nobody here is called a{char}b")
    assert encode(error).decode() == f"* nobody here is called {shown}\n"


@given(st.data())
def test_plain_text_no_event_can_forge_a_line(
    any_event: SearchStrategy[events.Event], data: DataObject
) -> None:
    written = encode(data.draw(any_event)).decode()
    assert written == "" or written.endswith("\n")
    for line in written.removesuffix("\n").splitlines():
        assert line.startswith(("* ", INDENT)) or re.match(r"\[\d\d:\d\d\] n", line)


@given(st.data())
def test_plain_text_batch_is_the_lines_of_its_messages(
    any_messages: SearchStrategy[list[events.MessageEvent]], data: DataObject
) -> None:
    messages = data.draw(any_messages)
    assert encode_messages(messages) == b"".join(map(encode, messages))


@pytest.mark.parametrize(
    "body", ["\n" * MAX_MESSAGE_BYTES, "\u2028" * (MAX_MESSAGE_BYTES // 3), "\0" * MAX_MESSAGE_BYTES]
)
def test_plain_text_largest_message_fits_a_frame(body: str) -> None:
    assert len(encode(message(body, "字" * 32))) <= MAX_FRAME_BYTES


def test_plain_text_history_is_its_messages() -> None:
    page = events.HistoryPage(room="lobby", messages=[message("a"), message("b")], more=True)
    assert encode(page) == b"[14:03] ann: a\n[14:03] ann: b\n"


def test_plain_text_other_events_are_sentences_after_a_star() -> None:
    assert encode(events.Renamed(sender="id", old="ann", username="anna")) == b"* ann is now anna\n"
    assert encode(events.Bye(reason=ByeReason.QUIT)) == b"* good-bye\n"
    assert encode(events.PingEvent(id="1")) == b""


def test_plain_text_help_lists_every_command() -> None:
    for word in ("/nick", "/join", "/who", "/rooms", "/msg", "bye", "quit"):
        assert word in plain_text.HELP
    assert "/help" in plain_text.GREETING
