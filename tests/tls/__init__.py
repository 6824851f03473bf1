"""Of the room `tls`, on both engines: what asyncio's TLS does where it is right, and what its user meant where it is not."""
