"""The swarm: thousands of bots on real sockets that tell the server's latency from their own lag."""
