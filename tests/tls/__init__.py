"""The room `tls`, on both engines: as asyncio where that is right, as its user meant it where it is not."""
