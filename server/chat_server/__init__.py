"""The Greenroom server: a gevent StreamServer around a core that does no I/O.

Imports `chat_protocol`. `app.py`, the composition root, imports every package; `vocabulary.py`, the names in
the log, imports none.
Open `app.py` first.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("greenroom")
except PackageNotFoundError:  # run from a bare source tree
    __version__ = "0.0.0+source"
