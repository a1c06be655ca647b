"""Percentile distributions equal HdrHistogram's output, and curves contain the percentiles."""

import io
import math
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_swarm.model.hgrm import percentile_curve, percentile_distribution
from chat_swarm.model.histogram import Histogram

samples = st.lists(st.integers(1, 2_000_000), min_size=1, max_size=300)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    made.record(np.array(values, dtype=np.int64))
    return made


def lines(text: str) -> list[list[float]]:
    return [[float(field) for field in line.split()] for line in text.splitlines() if re.match(r" +\d", line)]


@settings(max_examples=12)  # hdrh is slow
@given(samples)
def test_percentile_distribution_equals_hdrhistograms(values: list[int]) -> None:
    made = histogram(values)
    out = io.BytesIO()
    made.to_hdr().output_percentile_distribution(out, 1000.0)
    theirs, ours = out.getvalue().decode(), percentile_distribution(made)

    assert ours.splitlines()[:2] == theirs.splitlines()[:2]
    assert ours.splitlines()[-1] == theirs.splitlines()[-1]
    for one, other in zip(lines(ours), lines(theirs), strict=False):
        # hdrh writes the top of a bucket, we never more than the maximum; line counts may differ by one.
        assert math.isclose(one[0], other[0], rel_tol=2e-3, abs_tol=1.1e-3)
    first, last = lines(ours)[0], lines(ours)[-1]
    assert first[2] >= 1
    assert last[1:] == [1.0, len(values)]


@given(samples)
def test_percentile_distribution_footer_is_in_milliseconds(values: list[int]) -> None:
    found = re.findall(r"= +([\d.]+)[,\]]", percentile_distribution(histogram(values)))
    mean, deviation, most, count = (float(number) for number in found[:4])
    assert math.isclose(mean, np.mean(values) / 1000, rel_tol=1e-3, abs_tol=1e-3)
    assert math.isclose(deviation, np.std(values) / 1000, rel_tol=2e-2, abs_tol=max(values) / 1e6 + 1e-3)
    assert math.isclose(most, max(values) / 1000, abs_tol=1e-3)
    assert count == len(values)


@given(samples)
def test_percentile_curve_ascends_to_the_maximum(values: list[int]) -> None:
    x, y = percentile_curve(histogram(values))
    assert len(x) == len(y)
    assert x == sorted(x)
    assert y == sorted(y)
    assert x[-1] == len(values)
    assert y[-1] == max(values) / 1000


def test_percentile_curve_contains_the_percentiles() -> None:
    made = histogram(list(range(1, 100_001)))
    points = dict(zip(*percentile_curve(made), strict=True))
    assert math.isclose(points[10.0], made.percentile(90) / 1000)
    assert math.isclose(points[1000.0], made.percentile(99.9) / 1000)


def test_empty_histogram_has_no_curve() -> None:
    assert percentile_curve(Histogram()) == ([], [])
    assert "1.000000000000          0" in percentile_distribution(Histogram())
