"""Benchmark: server CPU per message of Greenroom, a C loop and other chat and messaging servers, in one run.

Imports `chat_protocol` only; never `chat_server`: servers are programs to start and bytes on a socket.
Open `bench.py` first, then `workloads.py`.
"""
