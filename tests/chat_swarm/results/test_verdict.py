"""Verdict sentences for slow generators, silent processes, incomplete audits and unwritten files."""

from pathlib import Path

import pytest

from chat_swarm.model.bottleneck import SILENT_PROCESS_REASON
from chat_swarm.report import page, tables
from chat_swarm.report.terminal_summary import format_summary
from chat_swarm.results import verdict
from chat_swarm.results.compare import compare
from chat_swarm.results.finished_run import FinishedRun
from support.swarm.synthetic_run import RAMP_S, synthetic_run, with_faults

SLOW = "loop lag over 100 ms"


def marked(*reasons: str, steady: int = 20, steps: bool = False) -> FinishedRun:
    """Return a run whose first steady seconds are marked, each for one of these reasons."""
    run = synthetic_run(steady=steady, samples=200, steps=steps)
    for number, reason in enumerate(reasons):
        run.rows[RAMP_S + number].marked = reason
    run.summary.generator.marked_seconds = len(reasons)
    run.summary.generator.marked = {reason: reasons.count(reason) for reason in reasons}
    return run


def test_sentences_on_a_silent_process_do_not_call_it_a_bottleneck() -> None:
    # Given a run in which one of the processes died
    run = marked(*[SILENT_PROCESS_REASON] * 6)
    # Then all sentences name the silent process
    said = verdict.generator_sentence(run)
    assert said.startswith("A bot process did not report in 6 seconds of 20 (30 %)")
    assert verdict.severity(run) == "bad"
    text, hint = format_summary(run), page.time_hint(run)
    assert said in text
    assert f"6 seconds in which {SILENT_PROCESS_REASON}." in hint
    (tile,) = (one for one in page.generator_tiles(run) if one.label == "Marked seconds")
    assert (tile.value, tile.note) == ("6 of 20", f"{SILENT_PROCESS_REASON}: 6")
    (warning,) = (one for one in compare(run, run).warnings if "of A's" in one)
    assert f"in 6 seconds of A's 20 {SILENT_PROCESS_REASON}" in warning
    # And none calls the generator too slow
    for words in (text, hint, warning):
        assert "bottleneck" not in words
        assert "too slow" not in words
        assert "--processes" not in words


def test_generator_sentence_separates_slow_from_silent() -> None:
    run = marked(SLOW, SILENT_PROCESS_REASON, SLOW, SILENT_PROCESS_REASON, SILENT_PROCESS_REASON)
    said = verdict.generator_sentence(run)
    assert "A bot process did not report in 3 seconds of 20 (15 %)" in said
    assert "The generator was the bottleneck in 2 seconds of 20 (10 %)" in said
    assert verdict.why_marked(run.rows) == f"the generator was the bottleneck or {SILENT_PROCESS_REASON}"


def test_audit_check_shows_the_notes_of_an_incomplete_audit() -> None:
    run = synthetic_run(samples=200)
    run.summary.audit.passed = False
    run.summary.audit.notes = ["bot process 0 did not report at the end"]
    audit, *_ = page.checks(run)
    assert audit.text.endswith("; bot process 0 did not report at the end")


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (
            [SILENT_PROCESS_REASON],
            "A bot process did not report in 1 second of 60 (1.67 %); the rest is reliable",
        ),
        ([SLOW], "The generator was late in 1 second of 60 (1.67 %); the rest is reliable"),
        (
            [SLOW, SILENT_PROCESS_REASON],
            "The generator was late in 1 second of 60 (1.67 %), and a bot process did not report in 1 second",
        ),
    ],
)
def test_generator_sentence_with_few_marked_seconds_names_the_reason(reasons: list[str], said: str) -> None:
    assert verdict.generator_sentence(marked(*reasons, steady=60)).startswith(said)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (SILENT_PROCESS_REASON, SILENT_PROCESS_REASON),
        (SLOW, "was the bottleneck"),
        ("", "was the bottleneck"),
    ],
)
def test_steps_table_names_the_reason_of_a_generator_bound_step(reason: str, said: str) -> None:
    run = marked(*[reason] * 9, steady=30, steps=True)
    run.summary.steps[0].generator_bound = True
    table = tables.steps(run)
    assert table is not None
    assert said in table.rows[0].cells[-1]
    assert table.rows[1].cells[-1] == "kept up"


def test_summary_of_an_unwritten_run_is_failed(tmp_path: Path) -> None:
    # Given a run that passed, and a full disk
    run, full = synthetic_run(samples=200), ["summary.json could not be written: No space left on device"]
    assert run.summary.passed
    # When the summary is printed, then its first line agrees with the exit code, and it names no report
    text = format_summary(run, tmp_path, full)
    assert text.splitlines()[0].endswith(": FAILED: FILES NOT WRITTEN (THE MEASUREMENTS PASSED)")
    assert f"ERROR: {full[0]}" in text
    assert "report.html" not in text


def test_summary_of_a_failed_and_unwritten_run_says_both() -> None:
    text = format_summary(with_faults(synthetic_run(samples=200)), None, ["no space"])
    assert text.splitlines()[0].endswith(": FAILED: THE AUDIT; AND FILES NOT WRITTEN")
