"""The bench reads /proc and uses epoll, so it and its tests run on Linux only."""

import sys

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
