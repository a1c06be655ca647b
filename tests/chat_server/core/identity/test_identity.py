"""Identities: their sessions, and the conversations that they are a side of."""

from __future__ import annotations

from chat_server.core.identity.identity import NOBODY, Identity


def test_identity_has_sessions_in_the_order_of_their_coming() -> None:
    ann: Identity[str] = Identity("Ann", "ann", 1)
    ann.add_session("phone")
    ann.add_session("laptop")
    assert list(ann.sessions) == ["phone", "laptop"]
    ann.remove_session("phone")
    assert list(ann.sessions) == ["laptop"]


def test_session_that_is_removed_twice_takes_no_other_along() -> None:
    ann: Identity[str] = Identity("Ann", "ann", 1)
    ann.add_session("phone")
    ann.remove_session("laptop")
    assert list(ann.sessions) == ["phone"]


def test_sessions_seen_before_a_change_are_those_of_then() -> None:
    """A loop over the sessions of a user may end some of them."""
    ann: Identity[str] = Identity("Ann", "ann", 1)
    ann.add_session("phone")
    ann.add_session("laptop")
    seen = []
    for session in ann.sessions:
        seen.append(session)
        ann.remove_session(session)
    assert seen == ["phone", "laptop"]
    assert not ann.sessions


def test_conversations_are_kept_with_the_oldest_first() -> None:
    ann: Identity[str] = Identity("Ann", "ann", 1)
    ann.remove_conversation((1, 2))  # it has none yet
    ann.add_conversation((1, 3))
    ann.add_conversation((1, 2))
    ann.add_conversation((1, 3))
    assert list(ann.conversations or ()) == [(1, 3), (1, 2)]
    ann.remove_conversation((1, 3))
    assert list(ann.conversations or ()) == [(1, 2)]


def test_identities_of_the_same_name_are_not_equal() -> None:
    """A name may be taken again while something still refers to the user that had it before."""
    assert Identity("Ann", "ann", 1) != Identity("Ann", "ann", 1)


def test_nobody_has_neither_sessions_nor_conversations() -> None:
    assert (NOBODY.id, NOBODY.name, NOBODY.sessions, NOBODY.conversations) == (0, "", (), None)
