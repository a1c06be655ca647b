"""Log analysis for Greenroom: what the server wrote, as answers."""
