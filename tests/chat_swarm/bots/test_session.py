"""A bot's session: which receive times are exact, which gaps are explained, which faults are found."""

import time
from collections.abc import Iterator

import pytest

from chat_protocol.commands import Message, Ping, Pong
from chat_protocol.dialects.ndjson import encode
from chat_protocol.events import Gap, PingEvent, PongEvent
from chat_swarm.bots import payload, session
from chat_swarm.bots.profiles import Chatter, Lurker
from support.swarm.engine_harness import RUN_ID, ScriptedServer, ServerConnection, SwarmHarness, message_from

HALL = "hall-0"


@pytest.fixture
def swarm(scripted_server: ScriptedServer) -> Iterator[SwarmHarness]:
    one = SwarmHarness(scripted_server.port, resumable=True, message_rate=50.0)
    yield one
    one.process.close()


def greeted(swarm: SwarmHarness, scripted_server: ScriptedServer, bot: Lurker | Chatter) -> ServerConnection:
    conn = scripted_server.accept(swarm)
    conn.greet()
    swarm.wait_until(lambda: bot.up, "the session")
    return conn


def lurker(swarm: SwarmHarness, scripted_server: ScriptedServer) -> tuple[Lurker, ServerConnection]:
    [bot] = swarm.start_bots(Lurker)
    return bot, greeted(swarm, scripted_server, bot)


def chatter(swarm: SwarmHarness, scripted_server: ScriptedServer) -> tuple[Chatter, ServerConnection]:
    [bot] = swarm.start_bots(Chatter)
    return bot, greeted(swarm, scripted_server, bot)


def shown(swarm: SwarmHarness, number: int) -> None:
    swarm.wait_until(lambda: swarm.count_of("delivered") >= number, f"{number} deliveries")


def late(swarm: SwarmHarness, metric: str) -> list[tuple[int, int]]:
    return [(value, count) for value, count in swarm.histograms[metric].buckets() if value >= 9_900_000]


class TestTiming:
    def test_late_bot_adds_bot_lag_not_delivery_time(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        # Given a message that arrived while the bot did not read
        _, conn = lurker(swarm, scripted_server)
        before = time.time_ns()
        conn.send(message_from(1, "ann", 1, before))
        conn.wait_received()
        came_ns = time.time_ns() - before
        time.sleep(0.06)
        # When the bot reads it
        shown(swarm, 1)
        swarm.flush_counts()
        # Then the wait is bot lag, not part of the delivery
        assert swarm.histograms["delivery"].largest * 1000 <= came_ns
        assert swarm.histograms["bot_lag"].largest >= 60_000

    def test_of_lines_in_one_read_only_the_last_is_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        conn.send(message_from(1, "ann", 1))
        time.sleep(0.05)
        before = time.time_ns()
        conn.send(message_from(2, "ann", 2))
        conn.wait_received()
        arrived_ns = time.time_ns() - before
        shown(swarm, 2)
        counts = swarm.flush_counts()
        assert (counts["delivered"], counts["untimed"]) == (2, 1)
        assert swarm.histograms["delivery"].largest * 1000 <= arrived_ns

    def test_lines_held_back_by_the_server_are_all_timed_as_late(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        # Given messages that were sent long ago
        _, conn = lurker(swarm, scripted_server)
        ago = time.time_ns() - 10**9
        # When the server delivers them all at once to a connected bot
        conn.send(*(message_from(seq, "ann", seq, ago) for seq in range(1, 6)))
        shown(swarm, 5)
        # Then each of them was delivered late
        assert swarm.flush_counts()["untimed"] == 0
        assert swarm.histograms["delivery"].count == 5
        assert swarm.histograms["delivery"].smallest >= 950_000

    def test_echo_among_other_lines_is_not_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        bot, conn = chatter(swarm, scripted_server)
        first, second = conn.expect(Message), conn.expect(Message)
        swarm.process.stop_sending()
        for pending in bot.pending.values():
            pending.planned_ns = pending.sent_ns  # in time, however busy the machine is
        conn.send(message_from(1, bot.name, 1, ref=first.ref))
        time.sleep(0.05)
        conn.send(message_from(2, bot.name, 2, ref=second.ref))
        conn.wait_received()
        shown(swarm, 2)
        assert swarm.flush_counts()["acknowledged"] == 2
        assert swarm.histograms["ack"].count == swarm.histograms["ack_response"].count == 1

    def test_message_held_up_before_sending_is_timed_from_its_plan(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        # Given messages that should have been sent ten seconds ago, when the bots were blocked
        bot, conn = chatter(swarm, scripted_server)
        mine = [conn.expect(Message), conn.expect(Message)]
        swarm.process.stop_sending()
        for pending in bot.pending.values():
            pending.planned_ns -= 10 * 10**9
        now = time.time_ns()
        text = payload.build_text(RUN_ID, 1, now - 10 * 10**9, now, 100)
        # When their echo and delivery wait among other lines
        conn.send(message_from(1, bot.name, 1, ref=mine[0].ref), message_from(2, "ann", 1, message=text))
        time.sleep(0.05)
        conn.send(message_from(3, bot.name, 2, ref=mine[1].ref))
        conn.wait_received()
        shown(swarm, 3)
        # Then their delivery times are unknown, but their lateness against the plan is counted
        assert swarm.flush_counts()["untimed"] == 2
        assert swarm.histograms["delivery"].count == swarm.histograms["ack"].count == 1
        assert sum(count for _, count in late(swarm, "ack_response")) == 2
        assert sum(count for _, count in late(swarm, "delivery_response")) == 1

    def test_pong_among_other_lines_is_not_timed(self, scripted_server: ScriptedServer) -> None:
        swarm = SwarmHarness(scripted_server.port, ping_interval=0.05)
        try:
            _, conn = lurker(swarm, scripted_server)
            conn.expect(Ping)
            conn.send(PongEvent(id=None, timestamp=0.0))
            time.sleep(0.05)
            conn.send(message_from(1, "ann", 1))
            conn.wait_received()
            shown(swarm, 1)
            assert not swarm.sample_count("rtt")
            conn.expect(Ping)
            conn.send(PongEvent(id=None, timestamp=0.0))
            swarm.wait_until(lambda: swarm.sample_count("rtt") == 1)
        finally:
            swarm.process.close()

    def test_welcome_among_other_lines_is_not_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        [bot] = swarm.start_bots(Lurker)
        conn = scripted_server.accept(swarm)
        conn.greet()
        time.sleep(0.05)
        conn.send(message_from(1, "ann", 1))
        conn.wait_received()
        swarm.wait_until(lambda: bot.up)
        assert swarm.flush_counts()["logins"] == 1
        assert "login" not in swarm.histograms
        assert swarm.histograms["connect"].count == 1

    def test_line_before_the_timestamped_byte_is_not_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        whole = encode(message_from(2, "ann", 2))
        conn.send(message_from(1, "ann", 1))
        time.sleep(0.05)
        conn.send_bytes(whole[:20])
        conn.wait_received()
        shown(swarm, 1)
        counts = swarm.flush_counts()
        assert (counts["delivered"], counts["untimed"]) == (1, 1)
        conn.send_bytes(whole[20:])
        shown(swarm, 2)
        assert swarm.flush_counts()["delivered"] == 2
        assert swarm.histograms["delivery"].count == 1

    def test_backlog_after_a_full_read_is_not_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        # Given more data than one read holds, which waited for the bot
        _, conn = lurker(swarm, scripted_server)
        for seq in range(1, 501):
            conn.send(message_from(seq, "ann", seq))
        time.sleep(0.05)
        conn.send(message_from(501, "ann", 501))
        conn.wait_received()
        # When it is read in several iterations
        shown(swarm, 501)
        # Then only the last message is timed
        assert swarm.flush_counts()["untimed"] == 500
        assert swarm.histograms["delivery"].count == 1

    def test_foreign_messages_are_not_timed(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        conn.send(
            message_from(1, "ann", 1, message="s1 other 1 5 5 " + "x" * 80),
            message_from(2, "bob", 1, message="hi"),
        )
        shown(swarm, 2)
        assert swarm.flush_counts()["foreign"] == 2
        assert "delivery" not in swarm.histograms
        assert swarm.merged_audit().passed


class TestGaps:
    def test_gap_to_a_connected_bot_is_a_fault(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        conn.send(Gap(room=HALL, first=1, last=3), message_from(4, "ann", 1))
        shown(swarm, 1)
        found = swarm.merged_audit()
        assert not found.passed
        assert (found.counts["gaps"], found.counts["lost"], found.explained_gaps) == (3, 0, 0)

    @pytest.mark.parametrize("long_ago", [False, True])
    def test_gap_is_explained_only_while_the_bot_catches_up(
        self,
        swarm: SwarmHarness,
        scripted_server: ScriptedServer,
        long_ago: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # Given a bot that was cut and came back
        bot, conn = lurker(swarm, scripted_server)
        conn.close()
        conn = scripted_server.accept(swarm)
        conn.greet(resumed=True)
        swarm.wait_until(lambda: bot.up and bot.had_session() and swarm.count_of("resumed"))
        # When the server reports a gap, at once or long after
        if long_ago:
            monkeypatch.setattr(session, "_CATCH_UP_WINDOW_NS", 0)
        conn.send(Gap(room=HALL, first=1, last=3), message_from(4, "ann", 1))
        shown(swarm, 1)
        # Then the absence explains it, or does not
        found = swarm.merged_audit()
        assert found.passed is not long_ago
        assert (found.counts["gaps"], found.explained_gaps) == ((3, 0) if long_ago else (0, 3))


class TestFaults:
    def test_server_that_skips_repeats_and_swaps_fails_the_audit(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        _, other = lurker(swarm, scripted_server)
        log = [message_from(seq, "ann", seq) for seq in range(1, 8)]
        other.send(*log)
        conn.send(*(log[place] for place in (0, 2, 2, 4, 3, 6, 5)))
        shown(swarm, 14)
        counts = swarm.drain_and_audit().counts
        assert (counts["lost"], counts["repeated"], counts["reordered"]) == (1, 1, 2)

    def test_two_messages_with_one_seq_are_mismatched(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        _, other = lurker(swarm, scripted_server)
        conn.send(message_from(1, "ann", 1))
        other.send(message_from(1, "bob", 1))
        shown(swarm, 2)
        assert swarm.drain_and_audit().counts["mismatched"] == 1

    def test_message_of_another_room_is_an_error(
        self, swarm: SwarmHarness, scripted_server: ScriptedServer
    ) -> None:
        _, conn = lurker(swarm, scripted_server)
        conn.send(message_from(1, "ann", 1, room="den"))
        swarm.wait_until(lambda: swarm.process.errors["message_of_no_room_of_ours"])

    def test_server_ping_is_answered(self, swarm: SwarmHarness, scripted_server: ScriptedServer) -> None:
        _, conn = lurker(swarm, scripted_server)
        conn.send(PingEvent(id="x7"))
        assert conn.expect(Pong).id == "x7"
