"""The swarm's options on Locust's command line and web form: names, units, bounds, and conversion to a Plan.

MUST NOT import Locust: this runs before it, and in tests without it.
"""

import logging
import math
from argparse import Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chat_protocol.message_text import MAX_MESSAGE_BYTES
from chat_protocol.names import validate_name
from chat_swarm.model import distributions
from chat_swarm.model.plan import BOT_CLASSES, DEFAULT_PORT, MIN_PAYLOAD_BYTES, RunPlan
from chat_swarm.model.stages import SHAPES, ShapePlan
from chat_swarm.results.slo import parse_slo
from chat_swarm.runner import preflight

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser
    from locust.env import Environment

log = logging.getLogger(__name__)

DEFAULT_HOST: Final = f"tcp://127.0.0.1:{DEFAULT_PORT}"
"""With a scheme, because Locust's form rejects a host without one."""

MAX_PREFIX_CHARS: Final = 12
"""Of `--room-prefix`; the run's name and the room's number follow, and a room name has at most 32."""

DAY_S: Final = 86_400.0


class PlanError(ValueError):
    """An invalid option; the sentence names the option, the value and the way out."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option, of its default's type; `low` and `high` also bound the numbers of a distribution."""

    name: str
    default: str | float | bool
    metavar: str
    help: str
    low: float = 0.0
    high: float = math.inf
    distribution: bool = False
    choices: tuple[str, ...] = ()
    in_page: bool = True
    """Whether Locust's web form shows it."""

    @property
    def dest(self) -> str:
        """Its name in the argparse namespace."""
        return self.name.replace("-", "_")


def _weight_option(kind: str, default: int, what: str) -> Option:
    name = f"{kind.removesuffix('Bot').lower()}-weight"
    return Option(name, default, "N", f"weight of {kind}s, which {what}; 0: none", high=1_000_000)


OPTIONS: Final = (
    _weight_option("ChatterBot", 1, "send to rooms"),
    _weight_option("DirectBot", 0, "send to each other in pairs"),
    _weight_option("LurkerBot", 0, "only read rooms"),
    _weight_option("ChurnBot", 0, "connect, send, leave or are cut off, and reconnect"),
    _weight_option("SlowBot", 0, "read far too slowly"),
    Option("room-size", 20, "BOTS", "bots per room", low=2, high=1_000_000),
    Option("rooms", 0, "N", "number of rooms; 0: as many as needed", high=1_000_000),
    Option("room-prefix", "swarm", "TEXT", "prefix of the rooms' names", in_page=False),
    Option("message-rate", 0.2, "PER_SECOND", "messages per second of each ChatterBot", high=100_000),
    Option("direct-rate", 1.0, "PER_SECOND", "messages per second of each DirectBot", high=100_000),
    Option("window", 1, "N", "unacknowledged messages that a DirectBot may have", low=1, high=1000),
    Option("think-time", "0", "SECONDS",
           f"seconds that a DirectBot waits after an echo: {distributions.FORMS}",
           high=DAY_S, distribution=True),
    Option("payload-bytes", "160", "BYTES", f"size of a message's text, in bytes: {distributions.FORMS}",
           low=MIN_PAYLOAD_BYTES, high=MAX_MESSAGE_BYTES, distribution=True),
    Option("ping-interval", 10.0, "SECONDS", "seconds between a bot's pings; 0: none", high=DAY_S),
    Option("churn-stay", "10", "SECONDS", "seconds that a ChurnBot stays connected; may be a distribution",
           high=DAY_S, distribution=True),
    Option("churn-away", "2", "SECONDS", "seconds until a ChurnBot reconnects; may be a distribution",
           high=DAY_S, distribution=True),
    Option("churn-cut", 0.5, "SHARE", "share of a ChurnBot's disconnects that are cuts, 0 to 1", high=1),
    Option("slow-rate", 1024.0, "PER_SECOND", "bytes per second that a SlowBot reads", low=1, high=1e9),
    Option("resumable", False, "", "request resumable sessions, as ChurnBots and storms always do"),
    Option("lag-limit", 100.0, "MS", "milliseconds of loop lag above which a second is marked",
           low=1, high=60_000),
    Option("drain", 10.0, "SECONDS", "seconds, at most, to wait for outstanding messages at the end of a run",
           high=DAY_S),
    Option("connect-timeout", 30.0, "SECONDS", "seconds from connect to `welcome`",
           low=0.1, high=DAY_S, in_page=False),
    Option("source-addresses", "", "IP,IP", "local addresses to connect from; empty: several of 127.0.0.0/8 "
           "to a loopback server, else any", in_page=False),
    Option("server-pid", 0, "PID", "the server's process, to sample CPU and memory; 0: found by its port",
           high=2**31 - 1, in_page=False),
    Option("server-log", "", "FILE", "the server's log (its --log-file): its own latencies are shown beside "
           "the measured ones", in_page=False),
    Option("report", "", "DIR", "directory of the run's files; empty: a new one under the working directory",
           in_page=False),
    Option("slo", "", "TEXT", "conditions that must hold for exit code 0, as delivery.p99<50ms,lost=0"),
    Option("leave-out-marked", False, "", "exclude marked seconds from the headline and the SLO"),
    Option("shape", "none", "SHAPE", "how the load changes during the run", choices=tuple(SHAPES)),
    Option("shape-steps", 5, "N", "steps: number of steps", low=1, high=1000),
    Option("shape-every", 30.0, "SECONDS", "burst, storm: seconds from start to start", low=1, high=DAY_S),
    Option("shape-for", 5.0, "SECONDS", "burst: seconds that one lasts", low=0.1, high=DAY_S),
    Option("shape-factor", 0.0, "FACTOR", "burst, limit: by which a burst multiplies the message rate, or a "
           "step the load; 0: 5 and 1.25", high=1000),
    Option("shape-share", 0.5, "SHARE", "storm: share of connections to cut, 0 to 1", low=0.001, high=1),
    Option("shape-spread", 0.0, "SECONDS", "storm: seconds over which its cuts are spread", high=DAY_S),
    Option("shape-by", "rate", "WHAT", "limit: what the steps raise, message rate or users",
           choices=("rate", "users")),
    Option("shape-settle", 5.0, "SECONDS", "limit: seconds that a step runs before it is measured",
           high=DAY_S),
    Option("shape-measure", 10.0, "SECONDS", "limit: seconds that a step is measured", low=1, high=DAY_S),
    Option("shape-precision", 0.05, "SHARE", "limit: largest difference of held and broken load, 0 to 1",
           low=0.001, high=0.999),
)  # fmt: skip
"""All options, in the order of help and web form."""


def add_options(parser: "LocustArgumentParser") -> None:
    """Add the options to Locust's parser, and set its defaults: load, host, loopback for page and master.

    Values are validated as part of parsing, before Locust forks and chooses classes, so that an invalid one
    ends the command with one line and code 2.
    """
    group = parser.add_argument_group("swarm", "What the bots do. Rates are per bot and second.")
    for option in OPTIONS:
        names = (f"--{option.name}",)
        text = option.help
        if isinstance(option.default, bool):
            action = group.add_argument(*names, action="store_true", default=option.default, help=text)
        else:
            if option.default != "":
                text = f"{text} (default {option.default})"
            action = group.add_argument(
                *names, type=type(option.default), default=option.default, metavar=option.metavar, help=text
            )
            if option.choices:
                action.choices, action.metavar = list(option.choices), None
        # Locust's add_argument accepts these, but not that of a group.
        vars(action).update(
            include_in_web_ui=option.in_page, is_secret=False, is_required=False, is_multiple=False
        )
    # Locust answers --help before it has loaded a locustfile, so its own help cannot show these options.
    group.add_argument("--swarm-help", action="help", help="show all options, including these, and exit")
    parser.set_defaults(host=DEFAULT_HOST, num_users=1000, spawn_rate=100)
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
    parse_args = parser.parse_args

    def checked(*args: Any, **how: Any) -> Namespace:
        options: Namespace = parse_args(*args, **how)
        try:
            plan = build_plan(options, options.host)
        except PlanError as refused:
            parser.exit(2, f"{parser.prog}: error: {refused}\n")
        # A worker gets options from its master, whose machine need not have the worker's addresses.
        away = getattr(options, "worker", False) or getattr(options, "master", False)
        if not away and (complaint := preflight.find_unbindable_source(plan)):
            parser.exit(2, f"{parser.prog}: error: {complaint}\n")
        # All other options can still change in the web form.
        alone = getattr(options, "headless", False) and not options.worker
        bots = math.ceil(
            (getattr(options, "num_users", 0) or 0) / max(1, getattr(options, "processes", 1) or 1)
        )
        if alone and (complaint := preflight.find_problem(plan, bots)):
            parser.exit(2, f"{parser.prog}: error: {complaint}\n")
        return options

    parser.parse_args = checked


def build_plan(options: Namespace, host: str | None) -> RunPlan:
    """Return the plan of a run with these options against `host`. Raises `PlanError`."""
    values = {option.dest: _validate(option, getattr(options, option.dest)) for option in OPTIONS}
    shape = build_shape_plan(options)
    if complaint := shape.invalid_reason():
        raise PlanError(f"--shape {shape.kind}: {complaint}")
    slo = values["slo"].strip()
    if shape.kind == "limit" and not slo:
        raise PlanError("--shape limit searches for the load that breaks an SLO: give one with --slo")
    if slo:
        try:
            parse_slo(slo)
        except ValueError as refused:
            raise PlanError(f"--slo {slo!r}: {refused}") from None
    name, port = _parse_address(host or DEFAULT_HOST)
    weights = _weights(values, getattr(options, "user_classes", None) or ())
    return RunPlan(
        host=name,
        port=port,
        weights=tuple((kind, weight) for kind, weight in weights.items() if weight),
        room_prefix=_parse_prefix(values["room_prefix"]),
        resumable=values["resumable"] or shape.kind == "storm",
        lag_limit=values["lag_limit"] / 1000,
        source_addresses=tuple(_parse_sources(values["source_addresses"])),
        server_log=Path(values["server_log"]) if values["server_log"] else None,
        report=Path(values["report"]) if values["report"] else None,
        slo=slo,
        shape=shape,
        **{dest: values[dest] for dest in _UNCONVERTED},
    )


_UNCONVERTED: Final = (
    *("room_size", "rooms", "message_rate", "direct_rate", "window", "think_time", "payload_bytes"),
    *("ping_interval", "churn_stay", "churn_away", "churn_cut", "slow_rate", "drain", "connect_timeout"),
    *("server_pid", "leave_out_marked"),
)


def build_shape_plan(options: Namespace) -> ShapePlan:
    """Return the load shape, unchecked; users, spawn rate and run time are Locust's own options."""
    return ShapePlan(
        kind=options.shape,
        users=int(getattr(options, "num_users", None) or 1),
        spawn_rate=float(getattr(options, "spawn_rate", None) or 1),
        run_time=float(getattr(options, "run_time", None) or 0) or None,
        every=options.shape_every,
        lasting=options.shape_for,
        factor=options.shape_factor,
        share=options.shape_share,
        spread=options.shape_spread,
        steps=options.shape_steps,
        by=options.shape_by,
        settle=options.shape_settle,
        measure=options.shape_measure,
        precision=options.shape_precision,
    )


def with_form_values(options: Namespace, form: Mapping[str, str]) -> Namespace:
    """Return a copy of `options` with the form's values, converted as Locust does. Raises `PlanError`."""
    new = Namespace(**vars(options))
    for option in OPTIONS:
        if option.dest not in form:
            continue
        text, kind = form[option.dest], type(option.default)
        try:
            value = text == "true" if kind is bool else kind(text)
        except ValueError:
            number = "whole number" if kind is int else "number"
            raise PlanError(
                f"--{option.name} {text!r} is not a {number}; write for example {option.default}"
            ) from None
        setattr(new, option.dest, value)
    return new


def changed_options(options: Namespace, new: Namespace) -> list[str]:
    """Return the flags of the swarm's options that differ."""
    return [f"--{one.name}" for one in OPTIONS if getattr(options, one.dest) != getattr(new, one.dest)]


def same_server(one: str | None, other: str | None) -> bool:
    """Return whether two hosts, as `-H` takes them, are the same address. Raises `PlanError`."""
    return _parse_address(one or DEFAULT_HOST) == _parse_address(other or DEFAULT_HOST)


def apply_weights(environment: "Environment", options: Namespace) -> None:
    """Set the user classes' weights, and which classes run. Raises `PlanError`.

    MUST run before Locust makes the run's dispatcher, which it keeps until the run ends: at `init`, and
    before Locust handles the form. A worker keeps all classes: the master names those to start.
    """
    available: Mapping[str, Any] = environment.available_user_classes or {}
    values = {option.dest: getattr(options, option.dest) for option in OPTIONS}
    weights = _weights(values, getattr(options, "user_classes", None) or ())
    for name, weight in weights.items():
        if name in available:
            available[name].weight = weight
    running = [one for name, one in available.items() if weights.get(name, 1)]
    environment.user_classes[:] = list(available.values()) if getattr(options, "worker", False) else running


def on_init(environment: "Environment", **_: object) -> None:
    """Apply the command line's weights, in Locust's `init` event: only then a worker knows that it is one."""
    options = environment.parsed_options
    if options is None:
        return
    apply_weights(environment, options)
    if not getattr(options, "worker", False):
        for sentence in build_plan(options, environment.host).warnings():
            log.warning(sentence)


def _weights(values: Mapping[str, Any], chosen: Collection[str]) -> dict[str, int]:
    """Return class → weight; if classes are named on the command line, exactly these, at least 1 each."""
    weights = {kind: int(values[f"{kind.removesuffix('Bot').lower()}_weight"]) for kind in BOT_CLASSES}
    if chosen and not set(BOT_CLASSES) <= set(chosen):
        weights = {kind: max(1, weight) if kind in chosen else 0 for kind, weight in weights.items()}
    others = set(chosen) - set(BOT_CLASSES)  # classes of the user's own locustfile
    if not any(weights.values()) and not others:
        raise PlanError("--chatter-weight 0 and all other weights 0: no bots; give one kind a weight over 0")
    return weights


def _validate(option: Option, value: Any) -> Any:
    if option.distribution:
        try:
            return distributions.parse(value, option.low, option.high)
        except ValueError as refused:
            raise PlanError(f"--{option.name} {refused}") from None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not (math.isfinite(value) and option.low <= value <= option.high):
            raise PlanError(
                f"--{option.name} {value:.10g} is out of range; give {option.low:.10g} to {option.high:.10g}"
            )
    elif option.choices and value not in option.choices:
        raise PlanError(f"--{option.name} {value!r} is unknown; choose one of {', '.join(option.choices)}")
    return value


def _parse_prefix(text: str) -> str:
    try:
        shown = validate_name(text)
    except ValueError as refused:
        raise PlanError(f"--room-prefix {text!r} cannot begin a room's name: {refused}") from None
    if len(shown) > MAX_PREFIX_CHARS:
        raise PlanError(f"--room-prefix {text!r} is too long; give {MAX_PREFIX_CHARS} characters at most")
    return shown


def _parse_sources(text: str) -> list[IPv4Address | IPv6Address]:
    addresses = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            addresses.append(ip_address(part))
        except ValueError:
            raise PlanError(
                f"--source-addresses {part!r} is not an address; write them as 127.0.0.1,127.0.0.2"
            ) from None
    return addresses


def _parse_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT`, `[IPv6]:PORT`, all with or without `tcp://`."""
    wrong = PlanError(f"--host {text!r} is not an address; write HOST:PORT, [IPv6]:PORT or tcp://HOST:PORT")
    scheme, sep, rest = text.strip().rpartition("://")
    rest = rest.rstrip("/")
    if (sep and scheme != "tcp") or not rest or any(char.isspace() or char in "/@?#" for char in rest):
        raise wrong
    if rest.startswith("["):
        name, bracket, port = rest[1:].partition("]")
        if not bracket or ":" not in name or not _is_address(name) or (port and not port.startswith(":")):
            raise wrong
        port = port[1:] if port else str(DEFAULT_PORT)
    elif rest.count(":") > 1:
        name, port = rest, str(DEFAULT_PORT)
        if not _is_address(name):
            raise wrong
    else:
        name, colon, port = rest.partition(":")
        port = port if colon else str(DEFAULT_PORT)
    if not name or name.isdecimal():  # inet_aton(3) reads 7072 as 0.0.27.160
        raise wrong
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise PlanError(f"--host {text!r} has no port from 1 to 65535; write one as in 127.0.0.1:7072")
    return name, int(port)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
