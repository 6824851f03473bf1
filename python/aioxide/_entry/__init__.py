"""The ways in: `run()`, `import aioxide as asyncio`, `install()`, `python -m aioxide`, the policy."""
