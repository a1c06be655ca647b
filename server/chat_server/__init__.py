"""The Greenroom server: a gevent StreamServer around a core that does no I/O.

Imports `chat_cli` and `chat_protocol`. `app.py`, the composition root, imports every package;
`vocabulary.py`, the names in the log, imports none.
Open `app.py` first.
"""

__version__: str


def __getattr__(name: str) -> str:
    """Look up `__version__` on first use: importlib.metadata takes long, and signals may come meanwhile."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        found = version("greenroom")
    except PackageNotFoundError:  # run from a bare source tree
        found = "0.0.0+source"
    globals()["__version__"] = found
    return found
