from chat_client.base.rtt_samples import RttSamples, percentile


def test_percentile_is_a_measured_value() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7.0], 50) == 7.0


def test_rtt_samples_keep_the_last_and_the_minimum_of_all() -> None:
    samples = RttSamples(kept=3)
    assert samples.percentile_ms(50) is None
    for value in (1.0, 5.0, 9.0, 7.0):
        samples.add(value)
    assert (samples.values(), samples.count, samples.last_ms, samples.min_ms) == (
        [5.0, 9.0, 7.0],
        4,
        7.0,
        1.0,
    )
    assert samples.percentile_ms(50) == 7.0
