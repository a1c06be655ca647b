"""The Greenroom server: a gevent StreamServer around a core that does no I/O.

The root holds the program (`__main__.py`), the composition root (`app.py`), which imports every package, and
the log's vocabulary, which imports nothing. Open `app.py` first.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("greenroom")
except PackageNotFoundError:  # run from a bare source tree
    __version__ = "0.0.0+source"
