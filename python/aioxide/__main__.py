"""`python -m aioxide`: see `_main.py`."""

from aioxide._main import main

if __name__ == "__main__":
    main()
