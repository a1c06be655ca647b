"""The allowances of all addresses, by `Link.address_key`. They outlast connections."""

from collections import OrderedDict
from typing import Final
from weakref import WeakValueDictionary

from chat_server.core.base.limits import Limits
from chat_server.core.base.rate_limit import AddressAllowance

MAX_RECENT_ADDRESSES: Final = 10_000
"""Addresses that are remembered though they have no session: about 6 MB."""


class AddressAllowances:
    """One allowance for each address that has a session, or has had one recently.

    One that is full behaves like a new one and can be forgotten; those of sessions live as long as they do.
    `now` is in monotonic seconds; operations are O(1), amortised.
    """

    def __init__(self) -> None:
        self._limits: Limits | None = None
        self._known: WeakValueDictionary[str, AddressAllowance] = WeakValueDictionary()
        self._recent: OrderedDict[str, AddressAllowance] = OrderedDict()  # by last use; keeps them alive

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: str, limits: Limits, now: float) -> AddressAllowance | None:
        """Return the allowance of an address; None if it is exempt (its key is empty), or has no limit."""
        if not key or not limits.rate_address_factor:
            return None
        if limits is not self._limits:  # reloaded: all begin with full buckets
            self._limits = limits
            self._known.clear()
            self._recent.clear()
        allowance = self._known.get(key)
        if allowance is None:
            allowance = self._known[key] = AddressAllowance(limits, now)
        self._recent[key] = allowance
        self._recent.move_to_end(key)
        self._forget(now)
        return allowance

    def _forget(self, now: float) -> None:
        recent = self._recent
        while len(recent) > 1:
            oldest = next(iter(recent.values()))
            if len(recent) <= MAX_RECENT_ADDRESSES and not oldest.is_full(now):
                return
            recent.popitem(last=False)
