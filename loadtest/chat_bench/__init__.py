"""Measures what a message costs a server: Greenroom beside a C loop and other servers, in one run.

Knows the servers as programs to start and as bytes on a socket. Must not import any of Greenroom's server.
"""
