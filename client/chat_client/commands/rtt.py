"""`chat-client rtt`: round trips to the server, as ping(8) shows them.

Knows how to time and to sum up. The figures are ours; `tcp` is the kernel's, without the programs.
"""

import sys
import time

from chat_client.base.rtt_samples import Samples, percentile
from chat_client.client import Client
from chat_client.commands.support import open_client, tell
from chat_client.errors import ChatError, TimedOut
from chat_client.options.exit_codes import Exit, exit_code
from chat_client.options.settings import Settings

_PERCENTS = (50, 90, 99)


def run_rtt(settings: Settings, count: int | None, interval: float) -> Exit:
    """Ping `count` times (None: until Ctrl-C), print a line each and a summary; return the exit code."""
    client = open_client(settings, rooms=[], ping_every=0)
    server = client.welcome.server
    samples = Samples(kept=100_000)
    code = Exit.OK
    sent = 0
    began = time.monotonic()
    try:
        _print(f"RTT to {client.address} ({server.name} {server.version}, node {server.node})")
        while count is None or sent < count:
            time.sleep(max(0.0, began + sent * interval - time.monotonic()))
            sent += 1
            _one(client, samples, sent)
    except KeyboardInterrupt:
        code = Exit.OK if count is None else Exit.INTERRUPTED  # without a count that is how it ends
    except ChatError as error:
        tell(str(error))
        code = exit_code(error)
    address = str(client.address)
    client.close()
    _summary(address, samples, sent, time.monotonic() - began)
    if code is Exit.OK and sent and not samples.count:
        return Exit.TIMEOUT
    return code


def _one(client: Client, samples: Samples, number: int) -> None:
    try:
        rtt_ms = client.ping()
    except TimedOut:
        _print(f"no answer from {client.address}: n={number}")
        return
    samples.add(rtt_ms)
    tcp_ms = client.tcp_ms()
    tcp = "" if tcp_ms is None else f" tcp={tcp_ms:.3f} ms"
    _print(f"pong from {client.address}: n={number} time={rtt_ms:.3f} ms{tcp}")


def _summary(address: str, samples: Samples, sent: int, seconds: float) -> None:
    values = sorted(samples.values())
    lost = 100 * (sent - samples.count) / sent if sent else 0.0
    _print(f"--- {address} ---")
    _print(f"{sent} pings, {samples.count} answered, {lost:.1f}% lost, in {seconds:.1f} s")
    if values:
        mean = sum(values) / len(values)
        _print(f"min/mean/max = {values[0]:.3f}/{mean:.3f}/{values[-1]:.3f} ms")
        shown = " ".join(f"p{percent}={percentile(values, percent):.3f}" for percent in _PERCENTS)
        _print(f"percentiles: {shown} ms")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
