"""What holds for all tests."""

import signal

import pytest
from gevent import monkey
from hypothesis import HealthCheck, settings

# A busy machine is no failure: neither an example nor the drawing of one has a deadline.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell that starts something in the background has it ignore Ctrl-C, and nohup has it ignore hang-ups, and
# so all that it starts: then no process here could be interrupted.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_report_collectionfinish() -> None:
    """Refuse to run in a process that Locust has patched when a module imported it: tests would hang."""
    if monkey.is_module_patched("socket"):
        raise pytest.UsageError(
            "a test module imports Locust, which patches the process that all tests run in; give it a "
            "process of its own, as tests/chat_swarm/shapes/test_in_locust.py does"
        )
