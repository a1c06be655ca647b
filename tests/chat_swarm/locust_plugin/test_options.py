"""Options become the plan; invalid ones are refused in a sentence with the way out."""

import shlex
from argparse import ArgumentParser, Namespace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_swarm.locust_plugin.options import (
    OPTIONS,
    PlanError,
    add_options,
    apply_weights,
    build_plan,
    changed_options,
    with_form_values,
)
from chat_swarm.model.distributions import constant
from chat_swarm.model.plan import BOT_CLASSES, RunPlan
from chat_swarm.model.stages import ShapePlan


def options(**values: Any) -> Namespace:
    return Namespace(
        **{one.dest: one.default for one in OPTIONS} | {"user_classes": [], "worker": False} | values
    )


def parser() -> ArgumentParser:
    one = ArgumentParser(prog="locust")
    one.add_argument("--host")
    one.add_argument("user_classes", nargs="*")
    add_options(one)  # type: ignore[arg-type]  # any argparse parser has what it uses
    return one


def test_build_plan_without_options_is_the_default_plan() -> None:
    a_run_worth_starting = ShapePlan(users=1000, spawn_rate=100)
    assert build_plan(parser().parse_args([]), None) == RunPlan(shape=a_run_worth_starting)


def test_build_plan_uses_every_option() -> None:
    given = shlex.split(
        "--chatter-weight 0 --direct-weight 3 --lurker-weight 2 --churn-weight 1 --slow-weight 0 "
        "--room-size 50 --rooms 7 --room-prefix load --message-rate 1.5 --direct-rate 4 --window 8 "
        "--think-time 0.5 --payload-bytes 100-200 --ping-interval 0 --churn-stay 3 --churn-away 4 "
        "--churn-cut 0.25 --slow-rate 99 --resumable --lag-limit 50 --drain 3 --connect-timeout 5 "
        "--source-addresses 127.0.0.1,::1 --server-pid 77 --server-log a.log --report here --slo lost=0 "
        "--leave-out-marked "
        "--shape burst --shape-steps 3 --shape-every 8 --shape-for 4 --shape-factor 6 --shape-share 0.25 "
        "--shape-spread 7 --shape-by users --shape-settle 2 --shape-measure 9 --shape-precision 0.5 "
        "--host [::1]:7"
    )
    parsed = parser().parse_args(given)
    plan = build_plan(parsed, parsed.host)
    assert not {f"--{one.name}" for one in OPTIONS} - set(given), "each is given here"
    assert plan.weights == (("DirectBot", 3), ("LurkerBot", 2), ("ChurnBot", 1))
    assert (plan.room_size, plan.rooms, plan.room_prefix) == (50, 7, "load")
    assert (plan.message_rate, plan.direct_rate, plan.window) == (1.5, 4, 8)
    assert (plan.think_time, plan.churn_stay, plan.churn_away) == (constant(0.5), constant(3), constant(4))
    assert (plan.payload_bytes.low, plan.payload_bytes.high) == (100, 200)
    assert (plan.ping_interval, plan.churn_cut, plan.slow_rate) == (0, 0.25, 99)
    assert plan.resumable
    assert plan.lag_limit == 0.05, "milliseconds on the command line, seconds in the plan"
    assert (plan.drain, plan.connect_timeout) == (3, 5)
    assert plan.source_addresses == (ip_address("127.0.0.1"), ip_address("::1"))
    assert (plan.server_pid, plan.report, plan.slo, plan.leave_out_marked) == (
        77,
        Path("here"),
        "lost=0",
        True,
    )
    assert plan.shape == ShapePlan(
        kind="burst",
        users=1000,
        spawn_rate=100,
        steps=3,
        every=8,
        lasting=4,
        factor=6,
        share=0.25,
        spread=7,
        by="users",
        settle=2,
        measure=9,
        precision=0.5,
    )
    assert (plan.host, plan.port) == ("::1", 7)


def test_build_plan_of_a_storm_is_resumable() -> None:
    assert build_plan(options(shape="storm"), None).resumable


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, ("127.0.0.1", 7072)),
        ("", ("127.0.0.1", 7072)),
        ("127.0.0.1:7073", ("127.0.0.1", 7073)),
        ("tcp://127.0.0.1:7073/", ("127.0.0.1", 7073)),
        (" chat.example ", ("chat.example", 7072)),
        ("chat.example:1", ("chat.example", 1)),
        ("[::1]:7073", ("::1", 7073)),
        ("tcp://[::1]", ("::1", 7072)),
        ("::1", ("::1", 7072)),
    ],
)
def test_host_with_or_without_port_is_parsed(host: str | None, address: tuple[str, int]) -> None:
    plan = build_plan(options(), host)
    assert (plan.host, plan.port) == address


@pytest.mark.parametrize(
    "host",
    shlex.split("http://x x:0 x:65536 x: x:٣ :7072 [::1 [x]:1 [::1]7072 1:2:3 a/b u@h x:999999999 tcp://"),
)
def test_host_that_is_invalid_is_refused(host: str) -> None:
    with pytest.raises(PlanError, match=r"--host .*7072|--host .*HOST:PORT"):
        build_plan(options(), host)


@given(st.text(max_size=30))
def test_host_of_any_text_is_parsed_or_refused(host: str) -> None:
    try:
        plan = build_plan(options(), host)
    except PlanError as refused:
        assert repr(host) in str(refused)  # noqa: PT017 - some texts are hosts
    else:
        assert plan.host
        assert 0 < plan.port < 65536


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"payload_bytes": "79"}, "--payload-bytes '79' is out of range; the values must be 80 to 8192"),
        ({"payload_bytes": "100-8193"}, "--payload-bytes .* 80 to 8192"),
        ({"think_time": "soon"}, "--think-time 'soon' .* write 160"),
        ({"window": 1001}, "--window 1001 is out of range; give 1 to 1000"),
        ({"room_size": 1}, "--room-size 1 is out of range; give 2 to 1000000"),
        ({"message_rate": float("nan")}, "--message-rate nan is out of range"),
        ({"message_rate": -1.0}, "--message-rate -1 is out of range; give 0 to"),
        ({"drain": float("inf")}, "--drain inf is out of range"),
        ({"churn_cut": 1.5}, "--churn-cut 1.5 is out of range; give 0 to 1"),
        ({"chatter_weight": 0}, "--chatter-weight 0 .* give one kind a weight over 0"),
        ({"chatter_weight": -1}, "--chatter-weight -1 is out of range"),
        ({"room_prefix": "@x"}, "--room-prefix '@x' .* begins with a letter"),
        ({"room_prefix": "x" * 13}, "--room-prefix .* 12 characters at most"),
        ({"source_addresses": "127.0.0.1,here"}, "--source-addresses 'here' .* 127.0.0.1,127.0.0.2"),
        ({"shape": "limit"}, "--shape limit .* give one with --slo"),
        ({"shape": "circle"}, "--shape 'circle' is unknown; choose one of none, ramp"),
        ({"shape": "burst", "shape_every": 5.0}, "--shape burst: --shape-for .* below --shape-every"),
        ({"shape_by": "luck"}, "--shape-by 'luck' is unknown; choose one of rate, users"),
        ({"slo": "delivery.p99<50"}, "--slo 'delivery.p99<50': .*ms"),
    ],
)
def test_build_plan_with_invalid_values_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        build_plan(options(**values), None)


def test_parser_with_invalid_value_exits_2_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--payload-bytes", "40"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "locust: error: --payload-bytes '40' is out of range; the values must be 80 to 8192\n"
    )


def test_plan_above_server_limits_warns() -> None:
    assert not list(build_plan(options(), None).warnings())
    assert "--message-rate 200" in next(build_plan(options(message_rate=200.0), None).warnings())
    assert "--rate-bytes" in next(
        build_plan(options(message_rate=50.0, payload_bytes="8000"), None).warnings()
    )
    assert not list(build_plan(options(direct_rate=200.0), None).warnings()), "there are no DirectBots"
    assert "--direct-rate" in next(build_plan(options(direct_rate=200.0, direct_weight=1), None).warnings())
    assert "audit" in next(build_plan(options(drain=0.0), None).warnings())


class TestForm:
    def test_form_values_are_converted_to_option_types(self) -> None:
        form = {
            "room_size": "30",
            "message_rate": "2",
            "resumable": "true",
            "slo": "lost=0",
            "user_count": "9",
        }
        new = with_form_values(options(), form)
        assert changed_options(options(), new) == ["--room-size", "--message-rate", "--resumable", "--slo"]
        assert (new.room_size, new.message_rate, new.resumable, new.slo) == (30, 2.0, True, "lost=0")

    def test_form_values_leave_the_options_unchanged(self) -> None:
        old = options()
        with_form_values(old, {"room_size": "30"})
        assert old == options()

    def test_form_values_that_are_no_numbers_are_refused(self) -> None:
        with pytest.raises(
            PlanError, match=r"--room-size '20\.5' is not a whole number; write for example 20"
        ):
            with_form_values(options(), {"room_size": "20.5"})
        with pytest.raises(PlanError, match="--drain 'long' is not a number; write for example 10"):
            with_form_values(options(), {"drain": "long"})

    def test_form_checkbox_unticked_is_false(self) -> None:
        assert with_form_values(options(resumable=True), {"resumable": "false"}).resumable is False


class TestWeights:
    @pytest.fixture
    def environment(self) -> SimpleNamespace:
        classes = {kind: type(kind, (), {"weight": 1}) for kind in BOT_CLASSES}
        return SimpleNamespace(available_user_classes=classes, user_classes=list(classes.values()))

    @staticmethod
    def running(environment: SimpleNamespace) -> dict[str, int]:
        return {one.__name__: one.weight for one in environment.user_classes}

    def test_classes_without_weight_do_not_run(self, environment: SimpleNamespace) -> None:
        apply_weights(environment, options(direct_weight=3))  # type: ignore[arg-type]
        assert self.running(environment) == {"ChatterBot": 1, "DirectBot": 3}

    def test_classes_left_out_of_a_run_can_run_in_the_next(self, environment: SimpleNamespace) -> None:
        apply_weights(environment, options())  # type: ignore[arg-type]
        apply_weights(environment, options(chatter_weight=0, slow_weight=1))  # type: ignore[arg-type]
        assert self.running(environment) == {"SlowBot": 1}

    def test_classes_of_a_worker_are_all_kept(self, environment: SimpleNamespace) -> None:
        apply_weights(environment, options(worker=True))  # type: ignore[arg-type]
        assert set(self.running(environment)) == set(BOT_CLASSES)

    def test_classes_named_on_the_command_line_run_alone(self, environment: SimpleNamespace) -> None:
        apply_weights(environment, options(user_classes=["LurkerBot"]))  # type: ignore[arg-type]
        assert self.running(environment) == {"LurkerBot": 1}

    def test_classes_all_named_keep_their_weights(self, environment: SimpleNamespace) -> None:
        apply_weights(environment, options(user_classes=[*BOT_CLASSES]))  # type: ignore[arg-type]
        assert self.running(environment) == {"ChatterBot": 1}

    def test_classes_without_any_weight_are_refused(self, environment: SimpleNamespace) -> None:
        with pytest.raises(PlanError, match="no bots"):
            apply_weights(environment, options(chatter_weight=0))  # type: ignore[arg-type]
        assert set(self.running(environment)) == set(BOT_CLASSES)
