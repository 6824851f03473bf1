"""`build_info()` and the version: what a bug report holds."""

import asyncio
import json
import platform
import sys
import tomllib
from pathlib import Path

import aioxide
from aioxide._entry import namespace

from tests.support.interpreters import output_of

CARGO = Path(__file__).parents[2] / "Cargo.toml"
VERSION = tomllib.loads(CARGO.read_text())["workspace"]["package"]["version"]


def test_it_says_how_it_was_built():
    info = aioxide.build_info()
    assert info["version"] == VERSION
    assert info["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert info["rustc"].startswith("rustc 1.")
    assert info["profile"] in ("release", "debug")
    assert info["profile_guided"] in (True, False)


def test_it_says_where_it_runs():
    runtime = aioxide.build_info()["runtime"]
    assert runtime["python"] == platform.python_version()
    assert runtime["implementation"] == "cpython"
    assert runtime["debug_build"] is hasattr(sys, "gettotalrefcount")


def test_it_can_be_written_down():
    info = aioxide.build_info()
    assert json.loads(json.dumps(info)) == info


def test_each_call_gives_a_dict_of_its_own():
    aioxide.build_info().clear()
    assert aioxide.build_info()["version"] == VERSION


def test_the_version_is_an_attribute_and_an_option():
    assert aioxide.__version__ == VERSION
    assert output_of("-m", "aioxide", "--version") == f"aioxide {VERSION}\n"
    assert output_of("-m", "aioxide", "-V") == f"aioxide {VERSION}\n"


def test_native_names_are_native():
    # No interpreter that we support lacks what they need; if one did, this is where we would learn of it.
    assert aioxide.build_info()["features"]["native_tasks"] is True
    assert aioxide.build_info()["features"]["context_snapshots"] is True
    for name in namespace.NATIVE_NAMES:
        native = getattr(aioxide, name)
        assert native is getattr(aioxide._aioxide, name)
        assert native is not getattr(asyncio, name)
        assert issubclass(native, getattr(asyncio, name))


TOLD = "stdlib ssl module not available\n" * 2
# As an interpreter that was built without OpenSSL.
WITHOUT_SSL = """
import sys
sys.modules["_ssl"] = None
import asyncio, aioxide

async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read())
    writer.close()
    server.close()
    return await asyncio.to_thread(int)

print(aioxide.run(main()), aioxide.build_info()["runtime"]["openssl"], "ssl" in sys.modules)

async def over_tls():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    try:
        await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=True, server_hostname="")
    except RuntimeError as error:
        print(error)
    try:
        asyncio.get_running_loop().tls_engine
    except RuntimeError as error:
        print(error)
    server.close()

aioxide.run(over_tls())
"""


def test_an_interpreter_without_ssl():
    assert output_of("-c", WITHOUT_SSL) == "b''\n0 None False\n" + TOLD
