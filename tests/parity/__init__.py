"""The same programs on asyncio and on aioxide: the two histories must be equal."""
