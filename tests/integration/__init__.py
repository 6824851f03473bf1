"""Real servers and test runners on our loop, as docs/ways-in.md and README.md tell people to start them."""
