"""One iteration of the loop: descriptors, waiting, wake-ups and signals."""
