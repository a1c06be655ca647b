"""docs/api.md says what the client library's docstrings say, and its public names and signatures stay."""

from support.pages import api_page


def test_api_page_is_made_from_the_docstrings() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run support.pages.api_page"


def test_public_signatures_of_the_client_library_are_unchanged() -> None:
    """A difference is a change of the public API: it belongs in CHANGELOG.md, then run the command above."""
    assert api_page.SIGNATURES.read_text(encoding="utf-8") == api_page.signatures()


def test_every_public_name_has_a_docstring() -> None:
    assert not api_page.undocumented()
