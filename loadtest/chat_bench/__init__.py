"""Benchmark: server CPU per message of Greenroom, a C loop and other chat and messaging servers, in one run.

Imports `chat_cli` and `chat_protocol` only, of ours; never `chat_server`: a server is a program to start and
bytes on a socket. Open `bench.py` first, then `workloads.py`.
"""
