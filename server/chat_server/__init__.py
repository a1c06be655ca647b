"""The Greenroom server: a gevent StreamServer around a pub/sub routing core."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("greenroom")
except PackageNotFoundError:  # run from a bare source tree
    __version__ = "0.0.0+source"
