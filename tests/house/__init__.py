"""The rules of the house (see ARCHITECTURE.md), read against the sources themselves."""
