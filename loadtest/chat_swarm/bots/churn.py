"""The bot that connects and disconnects all the time, built on the client library as a program would be.

It runs in its own greenlet and may block there. chat_client's sockets and threads MUST have been patched by
gevent (Locust does that). Methods of the `Bot` protocol are called from other greenlets and do not block.
"""

import time
from typing import Final

import gevent
from gevent.event import Event as Flag

from chat_client import Client
from chat_client.address import Address
from chat_client.errors import ChatError, ConnectionLost, Ended, Refused, TimedOut
from chat_protocol.commands import Resume
from chat_protocol.errors import ErrorCode
from chat_protocol.events import Event, Gap, MessageEvent, Welcome
from chat_swarm.audit.process_audit import Receiver
from chat_swarm.bots import payload
from chat_swarm.bots.bot_process import FIRST_LOGIN_S, BotProcess
from chat_swarm.bots.frame_cache import ReceivedMessage, received_message
from chat_swarm.bots.slots import ROOM_SLOT, SlotWaiter

_FIRST_RETRY_S: Final = 0.5
_MAX_RETRY_S: Final = 10.0
_READ_TIMEOUT_S: Final = 1.0


class Churn:
    """Connects, sends a message, stays, quits or is cut, waits, and connects again."""

    def __init__(self, process: BotProcess) -> None:
        self.process = process
        self.name = ""
        self.up = False
        self._slot = -1
        self._room = ""
        self._slot_waiter: SlotWaiter | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._client: Client | None = None
        self._resume: Resume | None = None
        self._receiver: Receiver | None = None
        self._counter = 0
        self._visits = 0
        self._visit_start_ns = 0  # messages sent before are catch-up
        self._unacknowledged: dict[int, str] = {}  # counter → text
        self._sending_stopped = Flag()
        self._cut_by_run = False  # the run cut the connection: its loss is not the server's fault
        self._started_at = 0.0
        self._retry_s = _FIRST_RETRY_S

    # The `Bot` protocol (bot_process.py).

    def start(self) -> None:
        """Request a slot, then start the greenlet."""
        self._started_at = time.monotonic()
        self.process.bots.add(self)
        self._slot_waiter = self.process.slots.acquire_slot(ROOM_SLOT, self._take_slot)

    def shut_down(self) -> None:
        """Kill the greenlet, close the client and release the slot, for good."""
        if self._slot_waiter is not None:
            self._slot_waiter.cancel()
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        if self._client is not None:
            self._client.close()
        self._mark_down()
        self._drop_session_state()
        self.process.last_counters[self.name] = self._counter
        if self._slot >= 0:
            self.process.slots.release_slot(ROOM_SLOT, self._slot)
            self._slot = -1
        self.process.bots.discard(self)

    def cut_connection(self) -> None:
        """Cut the connection; the next visit resumes the session."""
        if self._client is not None:
            self._cut_by_run = True
            self._client.cut()

    def apply_rate(self) -> None:
        """Do nothing: its message rate follows from its visits."""

    def stop_sending(self) -> None:
        """Send no further message; reconnect for the drain if it is between two visits."""
        self._sending_stopped.set()

    def count_unacknowledged(self) -> int:
        """Return the number of messages without an echo yet."""
        return len(self._unacknowledged)

    def had_session(self) -> bool:
        """Return whether it has ever had a session."""
        return self._visits > 0

    def is_first_login_pending(self) -> bool:
        """Return whether its first connection attempt is recent and has not failed."""
        first = self._visits == 0 and self._retry_s == _FIRST_RETRY_S
        return first and time.monotonic() < self._started_at + FIRST_LOGIN_S

    def report_unanswered(self) -> None:
        """Report messages without an answer to the audit."""
        if self._unacknowledged and self.up:
            self.process.audit.count_unanswered(self._room, self.name, len(self._unacknowledged))

    # The greenlet.

    def _take_slot(self, slot: int) -> None:
        self._slot = slot
        self.name = self.process.name_of("churn", slot)
        self._room = self.process.room_of(slot)
        self._counter = self.process.last_counters.get(self.name, 0)
        if self.process.sending_stopped:
            self._sending_stopped.set()
        self._greenlet = gevent.spawn(self._run_visits)
        self._greenlet.link_exception(lambda dead: self.process.count_internal_error(dead.exception))

    def _run_visits(self) -> None:
        while True:
            try:
                self._visit()
                self._retry_s = _FIRST_RETRY_S
            except ChatError as error:
                if isinstance(error, ConnectionLost):
                    self._save_session()
                cut, self._cut_by_run = self._cut_by_run and isinstance(error, ConnectionLost), False
                name_taken = isinstance(error, Refused) and error.code is ErrorCode.NAME_TAKEN
                if cut:
                    self.process.count("cuts")
                else:
                    self.process.count_error(type(error).__name__, fault=not name_taken)
                if not self.up and not name_taken:
                    self.process.count("connect_failures")
                self._mark_down()
                gevent.sleep(self.process.random.uniform(0.5, 1.0) * self._retry_s)
                self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S)

    def _visit(self) -> None:
        """Connect, send, read, disconnect, wait. Raises ChatError if the network or the server ends it."""
        process = self.process
        host, port = process.address[:2]
        self._client = client = Client(
            self.name,
            Address(host, port),
            rooms=[self._room],
            resumable=True,
            resume=self._resume,
            timeout=process.plan.connect_timeout,
            ping_every=0,
            program="chat-swarm",
        )
        began_ns = time.time_ns()
        self._visit_start_ns = began_ns
        self._on_welcome(client.connect(), began_ns)
        self._send_message(client)
        stay = process.plan.churn_stay.draw(process.random)
        self._read_until(client, time.monotonic() + stay)
        if process.random.random() < process.plan.churn_cut:
            self._leave_by_cut(client)
        else:
            self._leave_by_quit(client)
        self._sending_stopped.wait(process.plan.churn_away.draw(process.random))

    def _on_welcome(self, welcome: Welcome, began_ns: int) -> None:
        process = self.process
        process.count("connects")
        process.count("logins")
        if welcome.resumed:
            process.count("resumed")
            process.recorder.add_sample("resume", time.time_ns() - began_ns)
        else:
            if self._resume is not None:
                process.count("not_resumed")
            self._drop_session_state()
            seq = next((state.seq for state in welcome.rooms if state.room == self._room), 0)
            self._receiver = process.audit.follow(self.name, self._room, seq)
            self._receiver.excused = True
        self.up = True
        self._visits += 1
        process.connected += 1
        process.peak_connected = max(process.peak_connected, process.connected)

    def _send_message(self, client: Client) -> None:
        if self._sending_stopped.is_set():
            return
        process = self.process
        self._counter += 1
        now = time.time_ns()
        text = payload.build_text(
            process.run_id, self._counter, now, now, int(process.plan.payload_bytes.draw(process.random))
        )
        process.count("sent")
        process.count("sent_bytes", len(text))
        self._unacknowledged[self._counter] = text
        client.send(text, self._room)

    def _read_until(self, client: Client, until: float) -> None:
        while self._sending_stopped.is_set() or time.monotonic() < until:
            left = _READ_TIMEOUT_S if self._sending_stopped.is_set() else until - time.monotonic()
            try:
                self._handle_event(client.next_event(max(0.0, min(left, _READ_TIMEOUT_S))))
            except TimedOut:
                continue

    def _handle_event(self, event: Event) -> None:
        receiver, process = self._receiver, self.process
        if receiver is None:
            return
        if isinstance(event, Gap):
            process.audit.observe_gap(receiver, event.first, event.last)
        if not isinstance(event, MessageEvent) or event.room != self._room:
            return
        process.count("delivered")
        if event.seq == receiver.position + 1:
            receiver.position = event.seq
        else:
            process.audit.observe_out_of_sequence(receiver, event.seq, event.seq)
        message = received_message(process.run_id, event)  # the library hides the frame's bytes
        process.audit.compare(self.name, event.room, (message,))
        self._take_own(message)
        if not message.sent_ns:
            process.count("foreign")
            return
        if message.sent_ns < self._visit_start_ns:
            process.count("caught_up")
            process.recorder.add_sample("catch_up", time.time_ns() - message.sent_ns)
        else:
            process.count("untimed")  # the library gives no kernel timestamp

    def _take_own(self, message: ReceivedMessage) -> None:
        """Handle a message if it is its own: it is acknowledged."""
        process = self.process
        if message.sender != self.name:
            return
        text = self._unacknowledged.pop(message.counter, None)
        if text is None:
            return
        if message.event.message != text:
            detail = f"{self.name} was shown its message {message.counter} with another text than it had sent"
            process.audit.count_altered(self._room, self.name, message.seq, detail)
        process.count("acknowledged")
        process.audit.note_durable(self._room, message.seq)

    def _leave_by_cut(self, client: Client) -> None:
        client.cut()
        self._handle_buffered_events(client)
        self.process.count("cuts")
        self._save_session()
        self._mark_down()

    def _leave_by_quit(self, client: Client) -> None:
        client.quit()
        self._handle_buffered_events(client)
        self._resume = None
        self._mark_down()
        self._drop_session_state()

    def _handle_buffered_events(self, client: Client) -> None:
        """Handle the events received before the end."""
        while True:
            try:
                self._handle_event(client.next_event(0.0))
            except (Ended, ConnectionLost, TimedOut):
                return

    def _save_session(self) -> None:
        """Save what the next visit needs to resume this session."""
        if self._client is None or self._receiver is None:
            return
        self._handle_buffered_events(self._client)
        self._resume = self._client.resume
        self._client.close()
        # A new client does not know the old one's messages in flight: they may be stored or not.
        self._abandon_unacknowledged()

    def _mark_down(self) -> None:
        if self.up:
            self.up = False
            self.process.connected -= 1

    def _abandon_unacknowledged(self) -> None:
        if not self._sending_stopped.is_set():
            self.process.count("abandoned", len(self._unacknowledged))
        for counter in self._unacknowledged:
            self.process.audit.excuse_counter(self._room, self.name, counter)
        self._unacknowledged.clear()

    def _drop_session_state(self) -> None:
        self._abandon_unacknowledged()
        if self._receiver is not None:
            self.process.audit.unfollow(self._receiver)
            self._receiver = None
