import math

from hypothesis import given, settings
from hypothesis import strategies as st

from chat_server.core.base.rtt_samples import SAMPLES_KEPT, RttSamples


@settings(deadline=None, max_examples=100)
@given(
    samples=st.lists(st.floats(0, 10_000, width=32), min_size=1, max_size=200), percent=st.integers(1, 100)
)
def test_rtt_samples_keep_minimum_count_and_last_samples(samples: list[float], percent: int) -> None:
    rtt = RttSamples()
    for sample in samples:
        rtt.record(sample)
    assert rtt.count == len(samples)
    assert rtt.minimum_ms == min(samples)
    assert rtt.last_ms == round(samples[-1], 3)
    kept = sorted(samples[-SAMPLES_KEPT:])
    below = sum(one <= rtt.percentile_ms(percent) + 0.001 for one in kept)
    assert below >= math.ceil(len(kept) * percent / 100)
    assert rtt.percentile_ms(100) == round(kept[-1], 3)
