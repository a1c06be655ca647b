"""Entry point of `python -m chat_client`, the same as the command `chat-client`."""

import sys

from chat_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
