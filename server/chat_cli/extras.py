"""Optional packages (extras): what to say if one is missing."""

_OWN_PREFIX = "chat_"


def missing_extra(error: ImportError, extra: str) -> str:
    """Return a sentence that names the missing package and the way out.

    - `error`: raised by an import. If the module is one of ours it is a bug, and raised again.
    - `extra`: the extra of pyproject.toml that has the package.
    """
    name = (error.name or "").partition(".")[0]
    if not name or name.startswith(_OWN_PREFIX):
        raise error
    return f"{name} is not installed: run pip install '.[{extra}]' in the checkout of Greenroom"
