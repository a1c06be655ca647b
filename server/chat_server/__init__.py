"""The Greenroom server: a gevent StreamServer around a core that does no I/O.

Imports `chat_cli` and `chat_protocol`. `app.py`, the composition root, imports every package;
`vocabulary.py`, the names in the log, imports none.
Open `app.py` first.
"""

from chat_cli import __version__ as __version__
