"""Distributions: parsing of the text forms, drawing within the bounds, error messages."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.distributions import Distribution, constant, parse

numbers = st.decimals(0, 100_000, places=3).map(lambda number: f"{number:f}")
seeds = st.integers(0, 2**32)


def test_parse_number_is_a_constant() -> None:
    assert parse("160") == Distribution("160", 160.0, 160.0) == constant(160)


@given(numbers, numbers, seeds)
def test_parse_range_draws_within_it(one: str, other: str, seed: int) -> None:
    low, high = sorted((one, other), key=float)
    distribution = parse(f"{low}-{high}")
    assert float(low) <= distribution.draw(random.Random(seed)) <= float(high)
    assert (distribution.low, distribution.high) == (float(low), float(high))


@given(st.integers(1, 10_000), st.integers(1, 30), seeds)
def test_parse_log_normal_draws_within_its_bounds(median: int, tenths: int, seed: int) -> None:
    distribution = parse(f"lognormal:{median},{tenths / 10}", 1, 10_000)
    assert (distribution.low, distribution.high) == (1, 10_000)
    assert 1 <= distribution.draw(random.Random(seed)) <= 10_000


def test_log_normal_has_its_median() -> None:
    distribution, source = parse("lognormal:160,0.6,80-8192"), random.Random(7)
    drawn = sorted(distribution.draw(source) for _ in range(4001))
    assert 150 < drawn[2000] < 170
    assert drawn[0] >= 80
    assert drawn[-1] > 640, "a sigma of 0.6 has a tail"


@given(seeds)
def test_distribution_text_parses_to_itself(seed: int) -> None:
    source = random.Random(seed)
    low, high = sorted((source.randrange(1, 500), source.randrange(1, 500)))
    for text in (f"{low}", f"{low}-{high}", f"lognormal:{low},0.5,{low}-{high}"):
        assert parse(parse(text).text) == parse(text)


@given(st.text(max_size=40))
def test_parse_any_text_is_valid_or_named_in_the_error(text: str) -> None:
    try:
        distribution = parse(text, 0, 1000)
    except ValueError as refused:
        assert repr(text) in str(refused)  # noqa: PT017 - some texts are distributions
    else:
        assert 0 <= distribution.low <= distribution.high <= 1000


@pytest.mark.parametrize(
    ("text", "way_out"),
    [
        ("much", "write 160, 100-512 or lognormal:160,0.6"),
        ("", "write 160"),
        ("-5", "write 160"),
        ("nan", "write 160"),
        ("٣", "write 160"),
        ("512-64", "the smaller number first"),
        ("8193", "80 to 8192"),
        ("79", "80 to 8192"),
        ("40-160", "80 to 8192"),
        ("9" * 400, "80 to 8192"),
        ("lognormal:160,0", "the median alone for a constant"),
        ("lognormal:160,11", "at most 10"),
        ("lognormal:60,0.5", "80 to 8192"),
        ("lognormal:160,0.5,200-400", "200 to 400"),
        ("lognormal:160", "lognormal:160,0.6"),
    ],
)
def test_parse_error_says_what_is_accepted(text: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=way_out):
        parse(text, 80, 8192)


@pytest.mark.parametrize("form", ["{}", "1-{}", "lognormal:{},1", "lognormal:1,1,1-{}"])
def test_parse_infinite_number_without_a_maximum_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="0 and up"):
        parse(form.format("9" * 400))
