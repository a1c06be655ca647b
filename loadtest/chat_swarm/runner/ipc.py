"""What the master and the bot processes tell each other: the names of Locust's custom messages.

Knows names and what goes with them. Must not know Locust. In a run of one process, the same messages stay
within it. Data is what msgpack carries.
"""

from typing import Final

RUN_DESCRIPTION: Final = "swarm_roll"
"""Control → stations: `{run, factor, processes}`, the last with each station's number by its id. It is no
message of its own: it goes among Locust's options with the order to start users, and cannot come after it."""
LOCAL_ID: Final = "local"
"""The id of the only process."""
SECOND: Final = "swarm_second"
"""Station → control, every second: an `Interval` (as a dict between processes)."""
RATE: Final = "swarm_rate"
"""Control → stations: `{factor}`."""
CUT: Final = "swarm_cut"
"""Control → stations: `{share, spread}`."""
STOP_SENDING: Final = "swarm_halt"
"""Control → stations: say nothing more, wait for what is not acknowledged."""
HEADS: Final = "swarm_heads"
"""Station → control, once that is done or has taken too long: `{run, process, heads}`."""
CATCH_UP: Final = "swarm_catch_up"
"""Control → stations: `{heads}` of all of them; wait until every receiver has got so far."""
FINAL: Final = "swarm_final"
"""Station → control, once that is done or has taken too long: `{run, process, …}`, of `Engine.final`."""
