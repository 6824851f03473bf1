"""What peers and programs may do to TLS: nothing crashes, hangs, leaks or holds memory without bound."""

import os
import subprocess
import sys

import pytest

from .test_alike import ENGINES

OUTCOMES = {
    "refused_handshakes": "True",
    "from_every_slot": str([True] * 10),
    "never_reads": "True",
    "outlives_its_context": "[True, True]",
    "loop_closed_in_a_handshake": "True",
    "interleaved_threads": str([200 * 30_000] * 3),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OUTCOMES)
def test_it_stands(name, engine):
    command = [sys.executable, "-m", "tests.tls.hostile", name]
    env = os.environ | {"AIOXIDE_TLS_ENGINE": engine}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == OUTCOMES[name]
    assert "Exception ignored" not in done.stderr


def engine(prologue="", **env):
    program = (
        f"{prologue}\nimport aioxide\nloop = aioxide.new_event_loop()\nprint(*loop.tls_engine, sep=': ')"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_the_engine_is_told():
    assert engine().startswith("direct: ")
    assert engine(AIOXIDE_TLS_ENGINE="memory-bio") == "memory-bio: AIOXIDE_TLS_ENGINE says so"
    assert engine(AIOXIDE_TLS_ENGINE="rustls") == (
        'RuntimeError: AIOXIDE_TLS_ENGINE is "rustls"; it can be "direct" or "memory-bio"'
    )


@pytest.mark.parametrize(
    ("prologue", "why"),
    [
        ("import _ssl; del _ssl.__file__", "the ssl module is built into the interpreter"),
        ("import _ssl; _ssl.__file__ = '/no/such'", "the library of the ssl module cannot be opened"),
        ("import _ssl; _ssl.OPENSSL_VERSION = 'OpenSSL 0.1'", "two libraries of OpenSSL are in this process"),
        (
            "import ssl; ssl.SSLContext.wrap_bio = lambda *a, **k: None",
            "the ssl module does not behave as expected",
        ),
    ],
)
def test_what_is_not_as_expected_is_left_alone(prologue, why):
    assert engine(prologue) == f"memory-bio: {why}"
    refused = engine(prologue, AIOXIDE_TLS_ENGINE="direct")
    assert refused == f'RuntimeError: AIOXIDE_TLS_ENGINE is "direct", but {why}'
