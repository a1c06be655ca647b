"""Intervals with unusually many refusals, errors or closings for flooding."""

from datetime import UTC, datetime
from typing import Final

from chat_ops.log.event_log import EventLog
from chat_ops.stats import outliers
from chat_ops.table import Row

_COLUMNS: Final = ("interval_s", "refused", "errors", "closed", "accept_to_commit", "commit_to_sent")
_INTERVALS: Final = """
SELECT epoch(ts) - interval_s AS begun, epoch(ts) AS ended, interval_s,
    coalesce(list_sum(map_values(refused)), 0)::BIGINT AS refused,
    coalesce(list_sum(map_extract(errors, 'rate_limited')), 0)::BIGINT AS rate_limited,
    coalesce(list_sum(map_extract(closed, 'flooding')), 0)::BIGINT AS flooding,
    accept_to_commit, commit_to_sent
FROM {rare} WHERE event = 'interval' AND interval_s > 0
"""


def make_intervals_table(log: EventLog) -> None:
    """Make the table `storm_intervals`."""
    log.materialise("storm_intervals", _INTERVALS.format(rare=log.rare_events(*_COLUMNS)))


def find_outliers(log: EventLog, count_column: str, factor: float, floor: float) -> list[Row]:
    """Return begin and end of the intervals whose rate of `count_column` is above the threshold."""
    rates = log.rows(f"SELECT {count_column} / interval_s, count(*) FROM storm_intervals GROUP BY 1")  # noqa: S608  ours
    bound = outliers.rate_baseline(dict(rates)).threshold(factor, floor)
    return log.rows(
        f"SELECT begun, ended FROM storm_intervals WHERE {count_column} / interval_s > ?",  # noqa: S608  ours
        bound,
    )


def utc_time(seconds: float) -> datetime:
    """Return the UTC time of a Unix time, without a zone."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
