"""Messages between the coordinator and the bot processes, sent as Locust's custom messages (msgpack).

In a run of one process the same messages are passed within it.
"""

from typing import Final

RUN_DESCRIPTION: Final = "swarm_run_description"
"""Coordinator → workers: `{run, factor, processes}`, the last is worker id → process number. Not a message of
its own: it is put among Locust's parsed options, so it arrives with the order to start users, never after."""
LOCAL_ID: Final = "local"
"""The worker id of the only process."""
SECOND: Final = "swarm_second"
"""Worker → coordinator, every second: `{run, interval}`, a `ProcessSecond` (as a dict between processes)."""
RATE: Final = "swarm_rate"
"""Coordinator → workers: `{factor}`, the new rate factor."""
CUT: Final = "swarm_cut"
"""Coordinator → workers: `{share, spread}`, connections to cut, over `spread` seconds."""
STOP_SENDING: Final = "swarm_stop_sending"
"""Coordinator → workers: stop sending, and wait for outstanding acknowledgements."""
HEADS: Final = "swarm_heads"
"""Worker → coordinator, when that is done or timed out: `{run, process, heads}`, room → highest seq."""
CATCH_UP: Final = "swarm_catch_up"
"""Coordinator → workers: `{heads}` of all workers; wait until every receiver has reached them."""
FINAL: Final = "swarm_final"
"""Worker → coordinator, when that is done or timed out: `{run, process, …}`, of `BotProcess.final_report`."""
