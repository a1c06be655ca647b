"""Framing and validation in every dialect: lines, frames, packets, sizes, characters."""

from collections.abc import Callable

import pytest

from conversations.drivers import Driver, NdjsonDriver
from support.processes.peer import unique_name

Enter = Callable[..., Driver]

DIALECTS = ("ndjson", "simple", "text")

each_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("dialect", ["ndjson", "simple"])
def test_message_cannot_forge_a_line(enter: Enter, dialect: str, ending: str) -> None:
    # Given a reader in plain text, and a malicious user
    reader, mallory = enter("reader", "text"), enter("mallory", dialect)

    # When a message contains what looks like a line of another user
    mallory.send(mallory.encode_message(f"hm{ending}[12:00] ann: I resign{ending}* the server says so"))
    mallory.send(mallory.encode_message("end"))
    reader.expect_message(mallory.name, "end")

    # Then it is not attributed to another user, and no line begins with it
    assert not any(name == "ann" for name, _ in reader.messages)
    assert not any("the server says so" in sentence for sentence in reader.notices)
    if ending == "\n":
        assert (mallory.name, "hm\n[12:00] ann: I resign\n* the server says so") in reader.messages


@each_dialect
def test_message_over_8_192_bytes_is_refused(enter: Enter, dialect: str) -> None:
    # Given a user whose messages may have 8,192 bytes
    ann, bob = enter("ann", dialect), enter("bob", "ndjson")

    # When a message has one more (two-byte letters: the limit counts bytes, not characters)
    ann.send(ann.encode_message("é" * 4096 + "x"))

    # Then an error names the limit, the session continues, and exactly 8,192 bytes are accepted
    ann.expect_notice("8192", "8193")
    ann.say("é" * 4096)
    bob.expect_message(ann.name, "é" * 4096)


@each_dialect
@pytest.mark.parametrize("control", ["\x07", "\x1b", "\x00", "\x9b", "\x7f"])
def test_message_with_control_characters_is_refused(enter: Enter, dialect: str, control: str) -> None:
    # Given a user
    ann, bob = enter("ann", dialect), enter("bob", "ndjson")

    # When a message contains a control character
    ann.send(ann.encode_message(f"ring{control}ring"))

    # Then an error names the character, and the session continues
    ann.expect_notice("control character", f"U+{ord(control):04X}")
    ann.say("quiet now")
    bob.expect_message(ann.name, "quiet now")
    assert not any("ring" in text for _, text in bob.messages)


@each_dialect
def test_message_keeps_tabs(enter: Enter, dialect: str) -> None:
    ann, bob = enter("ann", dialect), enter("bob", "simple")
    ann.say("a\tb")
    bob.expect_message(ann.name, "a\tb")


def test_empty_message_is_refused(enter: Enter) -> None:
    ann = enter("ann", "ndjson")
    ann.send(ann.encode_message(""))
    ann.expect_notice("invalid_field", "empty")
    ann.say("better")


def test_empty_two_field_message_is_refused(enter: Enter) -> None:
    ann = enter("ann", "simple")
    ann.send(ann.encode_message(""))
    ann.expect_notice("empty")
    ann.say("better")


def test_first_empty_two_field_message_sets_the_name(enter: Enter) -> None:
    # Given a program that sends its name before its user has typed anything
    ann = enter("ann", "simple", named=False)
    ann.send(ann.encode_message(""))
    ann.expect_notice("welcome", ann.name)

    # Then that is not an error
    ann.say("now I speak")
    assert not any("empty" in sentence for sentence in ann.notices)


def test_blank_line_of_plain_text_is_ignored(enter: Enter) -> None:
    ann = enter("ann", "text")
    before = len(ann.notices)
    ann.send(b"\n   \n\r\n")
    ann.say("something")
    assert len(ann.messages) - len([None for name, _ in ann.messages if name != ann.name]) == 1
    assert not any("empty" in sentence for sentence in ann.notices[before:])


@each_dialect
def test_session_sent_byte_by_byte_works(enter: Enter, dialect: str) -> None:
    # Given a very slow connection
    ann, bob = enter("ann", dialect, named=False), enter("bob", "ndjson")
    assert isinstance(bob, NdjsonDriver)
    said = {
        "ndjson": f'{{"type":"hello","username":"{ann.name}"}}\n'.encode() + ann.encode_message("slôw ☃"),
        "simple": ann.encode_message("slôw ☃"),
        "text": f"/nick {ann.name}\r\n".encode() + ann.encode_message("slôw ☃"),
    }[dialect]

    # When each byte is sent alone
    for byte in said:
        ann.send(bytes([byte]))
        bob.wait_for_server_reads()  # the server has read it by now

    # Then the result is as if all had arrived at once
    bob.expect_message(ann.name, "slôw ☃")
    ann.expect_message(ann.name, "slôw ☃")


@each_dialect
def test_several_frames_in_one_packet_are_handled(enter: Enter, dialect: str) -> None:
    # Given a whole session in one packet, but for the end of the last frame
    ann, bob = enter("ann", dialect, named=False), enter("bob", "ndjson")
    first = {
        "ndjson": f'{{"type":"hello","username":"{ann.name}"}}\n',
        "simple": "",
        "text": f"/nick {ann.name}\n",
    }
    whole = first[dialect].encode() + b"".join(map(ann.encode_message, ("one", "two", "three")))

    # When it is sent
    ann.send(whole[:-5])
    bob.expect_message(ann.name, "two")
    ann.send(whole[-5:])

    # Then each message is delivered, to its sender too
    for one in (ann, bob):
        for text in ("one", "two", "three"):
            one.expect_message(ann.name, text)


def test_two_field_objects_need_no_newline_between_them(enter: Enter) -> None:
    ann, bob = enter("ann", "simple", named=False), enter("bob", "ndjson")
    ann.send(
        ann.encode_message("one").strip()
        + ann.encode_message("{two}").strip()
        + b"\n\n"
        + ann.encode_message('"three\\').strip()
    )
    for text in ("one", "{two}", '"three\\'):
        bob.expect_message(ann.name, text)
        ann.expect_message(ann.name, text)


@each_dialect
def test_half_closed_peer_gets_its_acknowledgement(enter: Enter, dialect: str) -> None:
    # Given a script that sends one message and closes its side: printf 'hi' | nc -N
    ann, bob = enter("ann", dialect, named=False), enter("bob", "ndjson")
    text = unique_name("hi")
    if dialect == "ndjson":
        ann.send(f'{{"type":"hello","username":"{ann.name}"}}\n'.encode())
    ann.send(ann.encode_message(text).rstrip())  # no newline either
    ann.half_close()

    # When the server has seen the end
    ann.read_until_closed()

    # Then it has answered before closing, and the message is delivered
    assert text in [said for _, said in ann.messages]
    bob.until(lambda: text in [said for _, said in bob.messages], text)


@each_dialect
def test_connection_cut_in_a_frame_does_not_affect_others(enter: Enter, dialect: str) -> None:
    # Given a user whose connection closes in the middle of a frame
    bob, ann = enter("bob", "ndjson"), enter("ann", dialect)
    bob.expect_notice(ann.name, "joined")
    ann.send(ann.encode_message("never finished")[:-4])
    ann.close()

    # Then the others are notified, and continue
    bob.expect_notice(ann.name, "left")
    bob.say("well")


def test_plain_text_newcomer_receives_the_last_messages(enter: Enter) -> None:
    # Given more than ten messages in the lobby
    ann = enter("ann", "ndjson")
    texts = [unique_name("earlier") for _ in range(12)]
    for text in texts:
        ann.say(text)

    # When a user connects with nc
    bob = enter("bob", "text")

    # Then it receives a line of help, then the last ten messages
    assert "/help" in bob.notices[0]
    assert [text for _, text in bob.messages][:10] == texts[2:]


def test_plain_text_help_lists_every_command(enter: Enter) -> None:
    ann = enter("ann", "text")
    ann.send(b"/help\n")
    for word in ("/nick", "/join", "/who", "/rooms", "/msg", "bye"):
        ann.expect_notice(word)
    ann.send(b"/nonsense\n")
    ann.expect_notice("/nonsense")
    ann.send(b"/msg\n")
    ann.expect_notice("/msg NAME text")


def test_plain_text_guest_has_a_name_at_once(enter: Enter) -> None:
    ann, bob = enter("ann", "text", named=False), enter("bob", "ndjson")
    ann.send(b"hello from nowhere\n")
    ann.expect_notice("welcome", "guest-")
    bob.until(lambda: any(text == "hello from nowhere" for _, text in bob.messages), "it")
    name = next(name for name, text in bob.messages if text == "hello from nowhere")
    assert name.startswith("guest-")
