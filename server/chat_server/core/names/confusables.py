"""Look-alikes: names that a reader cannot tell apart are not both taken.

Knows the taken names by their skeletons. Must not know what a name is of (a user, a room).

Two ASCII names never collide, so that paul1 and paull can both live. An ASCII name has one skeleton that is
cheap to get, so thousands of them are indexed as they come, and a newcomer in another script is looked up at
once. While no other name is taken, an ASCII newcomer is not looked up at all.
"""

from chat_server.core.names.skeletons import ascii_skeleton, skeletons


class Confusables:
    """The taken names; `shown` is a name as written (`names.clean`), `key` the same name folded."""

    __slots__ = ("_ascii", "_non_ascii", "_skeletons")

    def __init__(self) -> None:
        # Skeleton -> shown name, or shown names by key where several share it.
        self._ascii: dict[str, str | dict[str, str]] = {}
        self._non_ascii: dict[str, dict[str, str]] = {}  # skeleton -> shown names by key
        self._skeletons: dict[str, tuple[str, ...]] = {}  # of the others, by key

    def find_confusable(self, shown: str, key: str, released_key: str = "") -> str | None:
        """Return the shown name of a holder that cannot be told apart from this one, None if there is none.

        The holder of `key` itself is none, nor is the holder of the key `giving_up`, which the asker leaves.
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
        """Take in a name whose key is not taken."""
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
        """Give a name back that was added."""
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
