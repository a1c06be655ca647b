from support.processes.fixtures import start_server

__all__ = ["start_server"]
