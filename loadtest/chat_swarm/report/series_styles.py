"""Legend text, colour, dash and width of each line: one table for the report and for the live page."""

from typing import Final

from chat_swarm.report.plotly_layout import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, LineStyle

CURVES: Final = {
    "delivery": LineStyle("delivery", BLUE, width=3.0),
    "delivery_response": LineStyle("delivery response", PURPLE, width=1.8),
    "ack": LineStyle("ack", GREEN, width=1.8),
    "rtt": LineStyle("rtt", VERMILION, width=1.8),
    "catch_up": LineStyle("catch up", SKY, width=1.8),
    "bot_lag": LineStyle("bot lag", GREY, "dash", 1.8),
    "send_lag": LineStyle("send lag", GREY, "dot", 1.8),
}
"""Percentile curves, by latency."""

LINES: Final = {
    "delivery_max": LineStyle("delivery max", ORANGE, width=1.2),
    "delivery_p999": LineStyle("delivery p99.9", VERMILION, width=1.6),
    "delivery_p99": LineStyle("delivery p99", BLUE, width=2.6),
    "delivery_p50": LineStyle("delivery p50", GREEN),
    "bot_lag_p99": LineStyle("bot lag p99", GREY, "dash"),
    "delivered": LineStyle("delivered (left)", BLUE, width=4.0),
    "sent": LineStyle("sent (right)", VERMILION, width=1.5),
    "connected": LineStyle("connected", BLUE),
    "bots": LineStyle("bots", GREY, "dash"),
    "server_cpu": LineStyle("server CPU (left)", BLUE),
    "server_rss": LineStyle("server memory (right)", PURPLE, "dot"),
    "cpu": LineStyle("CPU of the busiest bot process", GREY),
    "others_cpu": LineStyle("CPU of other programs", PURPLE, width=1.5),
    "loop_lag_max": LineStyle("loop lag, worst", ORANGE, "dot"),
}
"""Lines over time."""

MARKED_OPACITY: Final = 0.24
"""Of the background of a marked second."""
