"""`python -m aioxide`: see `_entry/main.py`."""

from aioxide._entry.main import main

if __name__ == "__main__":
    main()
