"""A dict that can be read in key order from any key on, for lists that are sent in pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, TypeVar

T = TypeVar("T")

MAX_PENDING_KEYS: Final = 1000
"""Changes after which sorting all keys again is cheaper (20,000 keys: 2.5 ms) than applying each (2 µs)."""


class SortedDict(dict[str, T]):
    """A dict that can be read in key order from any key on, at a cost that depends on what is read.

    For dicts that change all the time and are listed now and then: the sorted keys are kept, and changes are
    applied to them when they are read next. MUST be changed by item only (`own[key] = …`, `del own[key]`).
    """

    __slots__ = ("_changed", "_order")

    def __init__(self) -> None:
        super().__init__()
        self._order: list[str] | None = None  # as of the last read
        self._changed: dict[str, None] = {}  # keys added or removed since then

    def __setitem__(self, key: str, value: T) -> None:
        if key not in self:
            self._mark_changed(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._mark_changed(key)

    def keys_after(self, after: str) -> Iterator[str]:
        """Yield the keys after `after` in order. The dict MUST NOT change meanwhile."""
        order = self._sorted_keys()
        for at in range(bisect_right(order, after), len(order)):
            yield order[at]

    def _mark_changed(self, key: str) -> None:
        if self._order is None:
            return
        self._changed[key] = None
        if len(self._changed) > MAX_PENDING_KEYS:
            self._order = None
            self._changed.clear()

    def _sorted_keys(self) -> list[str]:
        order = self._order
        if order is None:
            self._order = order = sorted(self)
            return order
        for key in self._changed:
            at = bisect_left(order, key)
            known = at < len(order) and order[at] == key
            if known and key not in self:
                del order[at]
            elif key in self and not known:
                order.insert(at, key)
        self._changed.clear()
        assert len(order) == len(self), "changed otherwise than by item"
        return order
