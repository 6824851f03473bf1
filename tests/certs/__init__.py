"""The certificates of the tests; `make` says how they came to be."""

import ssl
from pathlib import Path

CA = Path(__file__).parent / "ca.pem"
SERVER = Path(__file__).parent / "server.pem"


def server_context():
    """A context for the end that shows the certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(SERVER)
    return context


def client_context():
    """A context that verifies the server against our authority, host name included."""
    return ssl.create_default_context(cafile=CA)
