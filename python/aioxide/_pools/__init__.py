"""What all pools share: futures, `map()`, statistics, and the checks of arguments."""
