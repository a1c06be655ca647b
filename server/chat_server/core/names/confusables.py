"""Confusable names (UTS #39): a name that looks like a taken one cannot be taken. For users and for rooms.

Two ASCII names never collide, so paul1 and paull can both exist. An ASCII name has a single skeleton, which
is cheap to compute, so thousands are indexed as they are added, and a new name in another script is looked up
in that index. While all taken names are ASCII, a new ASCII name is not looked up at all.
"""

from chat_server.core.names.skeletons import ascii_skeleton, skeletons


class Confusables:
    """The taken names; `shown` is a name as written (`names.validate_name`), `key` the same name folded."""

    __slots__ = ("_ascii", "_non_ascii", "_skeletons")

    def __init__(self) -> None:
        # Skeleton -> shown name, or shown names by key if several share it.
        self._ascii: dict[str, str | dict[str, str]] = {}
        self._non_ascii: dict[str, dict[str, str]] = {}  # skeleton -> shown names by key
        self._skeletons: dict[str, tuple[str, ...]] = {}  # of the names that are not ASCII, by key

    def find_confusable(self, shown: str, key: str, released_key: str = "") -> str | None:
        """Return the shown name of a taken name that looks like this one, None if there is none.

        The name `key` itself does not count, nor does `released_key`, which its holder is about to give up.
        """
        if shown.isascii():
            return (
                self._non_ascii_holder((ascii_skeleton(key),), key, released_key) if self._non_ascii else None
            )
        wanted = skeletons(shown, key)
        for skeleton in wanted:
            held = self._ascii.get(skeleton)
            for name in (held,) if isinstance(held, str) else (held or {}).values():
                if name.lower() not in {key, released_key}:
                    return name
        return self._non_ascii_holder(wanted, key, released_key)

    def add_name(self, shown: str, key: str) -> None:
        """Add a name; its key must not be taken."""
        if shown.isascii():
            skeleton = ascii_skeleton(key)
            held = self._ascii.setdefault(skeleton, shown)
            if held is not shown:
                if isinstance(held, str):
                    self._ascii[skeleton] = held = {held.lower(): held}
                held[key] = shown
            return
        self._skeletons[key] = found = skeletons(shown, key)
        for skeleton in found:
            self._non_ascii.setdefault(skeleton, {})[key] = shown

    def remove_name(self, key: str) -> None:
        """Remove a name that was added."""
        found = self._skeletons.pop(key, None)
        if found is None:
            skeleton = ascii_skeleton(key)
            held = self._ascii[skeleton]
            if isinstance(held, str) or len(held) == 1:
                del self._ascii[skeleton]
            else:
                del held[key]
            return
        for skeleton in found:
            alike = self._non_ascii[skeleton]
            del alike[key]
            if not alike:
                del self._non_ascii[skeleton]

    def _non_ascii_holder(self, wanted: tuple[str, ...], key: str, released_key: str) -> str | None:
        for skeleton in wanted:
            for held, name in self._non_ascii.get(skeleton, {}).items():
                if held not in {key, released_key}:
                    return name
        return None
