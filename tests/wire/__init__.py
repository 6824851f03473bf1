"""What both sides of a process pool share: pickles, and the memory in which large data travels."""
