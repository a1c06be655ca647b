"""What each command does: one file for each family. A handler takes the hub, the session and the command."""
