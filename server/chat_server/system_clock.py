"""The port `Clock` by the clocks of the machine."""

import time


class SystemClock:
    """Monotonic seconds, and seconds since the epoch."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
