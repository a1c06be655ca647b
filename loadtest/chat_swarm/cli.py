"""The command `chat-swarm`: compares, reports and evaluates finished runs.

Exit codes: 0 fine; 1 an SLO or a bound is broken; 2 wrong usage, no such run, or output that cannot be
written; 130 interrupted. Modules that need numpy, plotly or Locust are imported inside the subcommands that
use them.
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chat_cli import __version__, streams
from chat_cli.extras import missing_extra
from chat_cli.streams import print_error

_INTRODUCTION: Final = """\
Compare, report and evaluate runs of the swarm, Greenroom's load test. Locust makes a run:

  locust -f $(chat-swarm locustfile)
  locust -f $(chat-swarm locustfile) --headless -u 5000 -r 500 -t 60s --slo "delivery.p99<50ms,lost=0"

and writes it to a directory under swarm-runs/, which these subcommands read.
"""
_EXIT_CODES_HELP: Final = (
    "exit codes: 0 fine; 1 an SLO or a bound is broken; 2 wrong usage, no such run, or output that cannot be"
    " written"
)
_PROGRAM: Final = "chat-swarm"
_EXTRA: Final = "loadtest"

EXIT_OK: Final = 0
EXIT_BROKEN: Final = 1
EXIT_USAGE: Final = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return streams.run(_PROGRAM, lambda: _main(argv), output_failed=EXIT_USAGE, reader_gone=EXIT_OK)


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = options.act
    try:
        return run(options)
    except ImportError as error:
        print_error(_PROGRAM, missing_extra(error, _EXTRA))
    except ValueError as error:
        print_error(_PROGRAM, str(error))
    except streams.OutputError:
        raise
    except Exception as error:
        from chat_swarm.results.run_directory import RunDirectoryError  # noqa: PLC0415  see the top of the file

        if not isinstance(error, RunDirectoryError):
            raise
        print_error(_PROGRAM, str(error))
    return EXIT_USAGE


def _compare(options: argparse.Namespace) -> int:
    from chat_swarm.report.comparison_table import as_json, format_table  # noqa: PLC0415  as above
    from chat_swarm.results.compare import compare, parse_bounds  # noqa: PLC0415  see the top of the file
    from chat_swarm.results.run_directory import read_run  # noqa: PLC0415  as above

    bounds = parse_bounds(options.fail_if) if options.fail_if is not None else None
    found = compare(read_run(options.run_a), read_run(options.run_b), options.scope, bounds)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(as_json(found) if options.json else format_table(found, colour=colour))
    return EXIT_BROKEN if found.failed else EXIT_OK


def _report(options: argparse.Namespace) -> int:
    from chat_swarm.report.html import render  # noqa: PLC0415  see the top of the file
    from chat_swarm.results.run_directory import read_run, write_report  # noqa: PLC0415  as above

    path = write_report(options.run, render(read_run(options.run)))
    sys.stdout.write(f"{path}\n")
    return EXIT_OK


def _slo(options: argparse.Namespace) -> int:
    from chat_swarm.results import verdict  # noqa: PLC0415  see the top of the file
    from chat_swarm.results.metric_refs import measurements_of  # noqa: PLC0415  as above
    from chat_swarm.results.run_directory import read_run  # noqa: PLC0415  as above
    from chat_swarm.results.slo import evaluate, parse_slo  # noqa: PLC0415  as above

    conditions = parse_slo(options.slo)
    run = read_run(options.run)
    scope = options.scope or run.summary.headline
    found = evaluate(conditions, measurements_of(run, scope), scope)
    for term in found.terms:
        mark = "held  " if term.passed else "BROKEN"
        sys.stdout.write(f"{mark}  {verdict.format_condition(term.text):<40} {verdict.term_value(term)}\n")
    return EXIT_OK if found.passed else EXIT_BROKEN


def _locustfile(_: argparse.Namespace) -> int:
    if importlib.util.find_spec("locust") is None:
        raise ModuleNotFoundError(name="locust")
    sys.stdout.write(f"{Path(__file__).with_name('locustfile.py')}\n")
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description=_INTRODUCTION,
        epilog=_EXIT_CODES_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chat-swarm {__version__}")
    subcommands = parser.add_subparsers(metavar="SUBCOMMAND", required=True)

    def subcommand(
        name: str, act: Callable[[argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        text = summary[0].upper() + summary[1:] + "."
        added = subcommands.add_parser(
            name, help=summary, description=text, epilog=_EXIT_CODES_HELP, allow_abbrev=False
        )
        added.set_defaults(act=act)
        return added

    def scope(of: argparse.ArgumentParser) -> None:
        of.add_argument(
            "--scope",
            choices=("steady", "clean", "all"),
            help="which seconds to evaluate: steady; clean, which excludes marked ones (the generator was the"
            " bottleneck, or a process of it did not report); or all (default: the run's headline scope)",
        )

    compare = subcommand("compare", _compare, "compare two runs, and show what changed beyond noise")
    compare.add_argument("run_a", metavar="RUN_A", type=Path, help="directory of the first run")
    compare.add_argument("run_b", metavar="RUN_B", type=Path, help="directory of the second run")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.add_argument(
        "--fail-if",
        metavar="BOUNDS",
        help='exit 1 if a figure changed by more, beyond noise, as in "delivery.p99>+20%%,sent.rate<-5%%"',
    )
    scope(compare)

    report = subcommand("report", _report, "rewrite a run's report.html, and print its path")
    report.add_argument("run", metavar="RUN", type=Path, help="directory of the run")

    slo = subcommand("slo", _slo, "evaluate an SLO on a run")
    slo.add_argument("run", metavar="RUN", type=Path, help="directory of the run")
    slo.add_argument("slo", metavar="SLO", help='conditions, as in "delivery.p99<50ms,lost=0"')
    scope(slo)

    subcommand("locustfile", _locustfile, "print the path of the swarm's locustfile, for locust -f")
    return parser
