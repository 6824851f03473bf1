"""Stream transports, servers and connections."""
