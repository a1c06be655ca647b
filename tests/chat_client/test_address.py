import pytest

from chat_client.address import Address, parse_address, parse_servers


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", 7072),
        ("localhost:80", "localhost", 80),
        ("[::1]:7073", "::1", 7073),
        ("[::1]", "::1", 7072),
        ("::1", "::1", 7072),
        (" fe80::1%eth0 ", "fe80::1%eth0", 7072),
    ],
)
def test_parse_address_accepts_all_spellings(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert parse_address(str(parse_address(text))) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["", ":80", "a b", "a:", "a:x", "a:0", "a:65536", "[::1", "[::1]80", "a:-1", "a:²", "tcp://a:1"]
)
def test_parse_address_rejects_invalid_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_parse_servers_splits_at_commas() -> None:
    assert parse_servers("a:1, b ,") == [Address("a", 1), Address("b", 7072)]
