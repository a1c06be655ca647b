"""Drift is found where there is some, and not where there is none."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.model.schema import Quantiles, ServerSample, TimelineRow
from chat_swarm.results.drift import _student_t, find_drifts, fit_slope


def noise(seed: int, seconds: int, memory: float = 0.0) -> list[float]:
    """Return noise of standard deviation 1 with autocorrelation `memory`."""
    source, value, made = random.Random(seed), 0.0, []
    for _ in range(seconds):
        value = memory * value + (1 - memory**2) ** 0.5 * source.gauss(0, 1)
        made.append(value)
    return made


@pytest.mark.parametrize("memory", [0.0, 0.95])
def test_fit_slope_of_noise_contains_the_true_slope(memory: float) -> None:
    missed = 0
    for seed in range(300):
        points = [(float(t), 3 + 0.002 * t + one) for t, one in enumerate(noise(seed, 600, memory))]
        found = fit_slope(points)
        assert found is not None
        missed += abs(found[0] - 0.002) > found[1]
    assert missed <= 12  # 3 of 300 are expected, and a few more with strong autocorrelation


def test_fit_slope_of_a_large_drift_is_significant() -> None:
    points = [(float(t), 3 + 0.01 * t + one) for t, one in enumerate(noise(1, 600, 0.5))]
    found = fit_slope(points)
    assert found is not None
    assert found[0] == pytest.approx(0.01, rel=0.2)
    assert found[0] > found[1] > 0


@given(st.floats(-1e3, 1e3), st.floats(-1e6, 1e6), st.integers(16, 500))
def test_fit_slope_of_an_exact_line_is_exact(rise: float, start: float, seconds: int) -> None:
    found = fit_slope([(float(t), start + rise * t) for t in range(seconds)])
    assert found is not None
    assert found[0] == pytest.approx(rise, abs=1e-6)
    assert found[1] < 1e-4


def test_fit_slope_ignores_stalls() -> None:
    points = [(float(t), 1_000_000.0 if t in {580, 585} else 100.0) for t in range(600)]
    assert fit_slope(points) == (0.0, 0.0)


def test_fit_slope_of_too_few_points_is_none() -> None:
    assert fit_slope([(float(t), 1.0) for t in range(15)]) is None
    assert fit_slope([]) is None


@pytest.mark.parametrize(("freedom", "known"), [(6, 3.707), (10, 3.169), (28, 2.763)])
def test_student_t_matches_tables(freedom: int, known: float) -> None:
    assert _student_t(freedom) == pytest.approx(known, rel=0.01)


def test_find_drifts_of_a_soak_finds_the_leak_only() -> None:
    # Given a server that leaks 1 MiB in 100 s, and a generator that stalled during the rise and once later
    wobble = noise(2, 700)

    def p99(t: int) -> int:
        return 900_000 if t < 100 or 300 <= t < 360 else 900

    rows = [
        TimelineRow(
            t=t,
            unix=t,
            phase="steady",
            step="soak" if t >= 100 else "rise",
            metrics={
                "delivery": Quantiles(count=9, p50=500 + round(9 * wobble[t]), p99=p99(t)),
            },
            marked="loop lag" if 300 <= t < 360 else "",
            server=ServerSample(cpu=0.5, rss_bytes=round((50 + t / 100) * 2**20), descriptors=9),
        )
        for t in range(700)
    ]
    # When its rows are analysed
    found = {one.metric: one for one in find_drifts(rows)}
    # Then memory drifts, latency does not, and figures without samples are left out
    assert set(found) == {"delivery p50", "delivery p99", "server memory"}
    assert found["server memory"].is_significant
    assert found["server memory"].per_hour == pytest.approx(36, rel=0.01)
    assert not found["delivery p50"].is_significant
    assert not found["delivery p99"].is_significant
    assert found["server memory"].sentence.startswith("server memory drifts: +36 ± ")
    assert "delivery p99 does not drift: +0 ± 0 µs an hour" in found["delivery p99"].sentence
