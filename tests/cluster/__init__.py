"""Calls on other machines: `aioxide.ClusterExecutor`, over real clusters on loopback."""
