"""What holds for all tests."""

import signal

from hypothesis import HealthCheck, settings

# A busy machine is no failure: neither an example nor the drawing of one has a deadline.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# A shell that starts something in the background has it ignore Ctrl-C, and so all that it starts: then no
# process here could be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
