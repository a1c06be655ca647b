"""Whether the generator was the bottleneck: reasons of a second, shares of a step and of a run."""

import pytest

from chat_swarm.model.bottleneck import is_run_generator_bound, is_step_generator_bound, overload_reason


@pytest.mark.parametrize(
    ("loop_lag_max_us", "cpu_cores", "send_lag_max_us", "reason"),
    [
        (100_000, 0.95, 100_000, ""),
        (100_001, 0.0, 0, "loop lag over 100 ms"),
        (0, 0.96, 0, "CPU over 95% of a core"),
        (0, 0.0, 100_001, "sent late by over 100 ms"),
        (100_001, 0.96, 100_001, "loop lag over 100 ms"),
    ],
)
def test_overload_reason_names_the_first_limit_exceeded(
    loop_lag_max_us: int, cpu_cores: float, send_lag_max_us: int, reason: str
) -> None:
    found = overload_reason(
        lag_limit_s=0.1,
        loop_lag_max_us=loop_lag_max_us,
        cpu_cores=cpu_cores,
        send_lag_max_us=send_lag_max_us,
    )
    assert found == reason


@pytest.mark.parametrize(("marked", "bound"), [(0, False), (2, False), (3, True)])
def test_step_of_ten_seconds_is_generator_bound_above_two(marked: int, bound: bool) -> None:
    assert is_step_generator_bound(marked, 10) == bound


@pytest.mark.parametrize(("marked", "bound"), [(0, False), (3, False), (4, True)])
def test_run_of_a_minute_is_generator_bound_above_three(marked: int, bound: bool) -> None:
    assert is_run_generator_bound(marked, 60) == bound


def test_without_seconds_nothing_is_generator_bound() -> None:
    assert not is_step_generator_bound(0, 0)
    assert not is_run_generator_bound(0, 0)
