"""What holds for all tests."""

import signal

# A shell that starts something in the background has it ignore Ctrl-C, and so all that it starts: then no
# process here could be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
