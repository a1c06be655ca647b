"""`python -m chat_ops` is `chat-logs`."""

import sys

from chat_ops.cli import main

sys.exit(main())
