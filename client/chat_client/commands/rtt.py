"""`chat-client rtt`: round-trip times to the server, printed like ping(8).

`time` is measured by this program; `tcp` is the kernel's, without the two programs.
"""

import sys
import time

from chat_client.base.rtt_samples import RttSamples, percentile
from chat_client.client import Client
from chat_client.commands.support import open_client, print_to_stderr
from chat_client.errors import ChatError, TimedOut
from chat_client.options.exit_codes import ExitCode, exit_code
from chat_client.options.settings import Settings

_PERCENTILES = (50, 90, 99)


def run_rtt(settings: Settings, count: int | None, interval: float) -> ExitCode:
    """Ping every `interval` seconds, `count` times (None: until Ctrl-C), and print; return the exit code.

    As with ping(8), one answer is enough for code 0, and none at all is a timeout.
    """
    client = open_client(settings, rooms=[], ping_every=0)
    try:
        return _ping_all(client, count, interval)
    finally:
        client.close()


def _ping_all(client: Client, count: int | None, interval: float) -> ExitCode:
    server = client.welcome.server
    samples = RttSamples(kept=100_000)
    code = ExitCode.OK
    sent = 0
    began = time.monotonic()
    try:
        _print_line(f"RTT to {client.address} ({server.name} {server.version}, node {server.node})")
        while count is None or sent < count:
            time.sleep(max(0.0, began + sent * interval - time.monotonic()))
            sent += 1
            _ping_once(client, samples, sent)
    except KeyboardInterrupt:
        code = ExitCode.OK if count is None else ExitCode.INTERRUPTED  # without a count it is the normal end
    except ChatError as error:
        print_to_stderr(str(error))
        code = exit_code(error)
    client.close()
    _print_summary(str(client.address), samples, sent, time.monotonic() - began)
    if code is ExitCode.OK and sent and not samples.count:
        return ExitCode.TIMEOUT
    return code


def _ping_once(client: Client, samples: RttSamples, number: int) -> None:
    try:
        rtt_ms = client.ping()
    except TimedOut:
        _print_line(f"no answer from {client.address}: n={number}")
        return
    samples.add(rtt_ms)
    tcp_ms = client.tcp_ms()
    tcp = "" if tcp_ms is None else f" tcp={tcp_ms:.3f} ms"
    _print_line(f"pong from {client.address}: n={number} time={rtt_ms:.3f} ms{tcp}")


def _print_summary(address: str, samples: RttSamples, sent: int, seconds: float) -> None:
    values = sorted(samples.values())
    lost = 100 * (sent - samples.count) / sent if sent else 0.0
    _print_line(f"--- {address} ---")
    _print_line(f"{sent} pings, {samples.count} answered, {lost:.1f}% lost, in {seconds:.1f} s")
    if values:
        mean = sum(values) / len(values)
        _print_line(f"min/mean/max = {values[0]:.3f}/{mean:.3f}/{values[-1]:.3f} ms")
        shown = " ".join(f"p{percent}={percentile(values, percent):.3f}" for percent in _PERCENTILES)
        _print_line(f"percentiles: {shown} ms")


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
