"""Real servers and test runners on our loop, as docs/how-to/ and README.md tell people to start them."""
