"""Runs one target under the fuzzer, in this process: `python -m fuzz.one TARGET [libFuzzer options]`."""

import sys

import atheris

from fuzz.seeds import check_of

with atheris.instrument_imports(include=["chat_protocol", "chat_client", "chat_server"]):
    check = check_of(sys.argv[1])
atheris.Setup(sys.argv[1:], check)
atheris.Fuzz()
