from support.processes.fixtures import connect, dial, server, start_server

__all__ = ["connect", "dial", "server", "start_server"]
