"""Names: validation, folding, confusables."""

import unicodedata

from chat_protocol.names import MAX_NAME_CHARS, fold, is_reserved, validate_name
from chat_server.core.names.confusables import Confusables
from chat_server.core.names.scripts import mixing_problem
from chat_server.core.names.skeletons import imitates_reserved, skeleton


def check(data: bytes) -> None:
    written = data.decode("utf-8", "surrogateescape")
    folded = fold(written)
    assert fold(folded) == folded
    try:
        name = validate_name(written)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017  either is right, and each has its rule
        return
    assert validate_name(name) == name
    assert 1 <= len(name) <= MAX_NAME_CHARS
    assert name.isprintable()
    assert not set(name) & set(" @,/#")
    assert unicodedata.is_normalized("NFC", name)
    assert fold(name) == folded
    name.encode()
    _looks(name, folded)


def _looks(name: str, key: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)
    sentence = mixing_problem(name)
    assert sentence is None or sentence.isprintable()
    assert not (name.isascii() and (sentence or imitates_reserved(name, key)))
    assert is_reserved(key) in {True, False}
    lookalikes = Confusables()
    lookalikes.add_name(name, key)
    assert lookalikes.find_confusable(name, key) is None
    assert lookalikes.find_confusable(name, "another key") == (None if name.isascii() else name)
    lookalikes.remove_name(key)
    assert not lookalikes._ascii
    assert not lookalikes._non_ascii
