"""The bench reads /proc and waits with epoll, so it is for Linux alone, and so are its tests."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
