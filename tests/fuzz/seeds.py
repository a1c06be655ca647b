"""The fuzz targets, and their seeds: one bytes literal a line in corpus/NAME.txt."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

CORPUS: Final = Path(__file__).parent / "corpus"
WORDS: Final = CORPUS / "words.dict"
TARGETS: Final = (
    *("lines", "telnet", "json_objects", "ndjson", "two_field", "plain_text", "detect"),
    *("events", "names", "sanitize"),
)

Check = Callable[[bytes], None]


def seeds(target: str) -> list[bytes]:
    """Return the seeds of a target."""
    lines = (CORPUS / f"{target}.txt").read_text().splitlines()
    return [cast("bytes", ast.literal_eval("b" + line)) for line in lines]


def check_of(target: str) -> Check:
    """Import a target and return its check; under the fuzzer, importing instruments the code."""
    return cast("Check", importlib.import_module(f"fuzz.targets.{target}").check)
