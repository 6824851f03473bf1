"""`build_info()`: what a bug report has to say."""

import sys
from typing import Any


def build_info() -> dict[str, Any]:
    """Say which aioxide this is, how it was built, and what it runs on.

    Returns:
        The native module's facts (`version`, `rustc`, `profile`, `profile_guided`: was it compiled with the counts of a
        training run?, `target`, `python`: the version built for, `features`: what was probed at import and found
        usable) and, under `runtime`, those of the running interpreter and system.
    """
    # Here, not above: a program that never asks should not pay for these imports.
    import platform

    from .. import _aioxide

    info: dict[str, Any] = dict(_aioxide.build_info())
    info["runtime"] = {
        "implementation": sys.implementation.name,
        "python": platform.python_version(),
        "python_compiler": platform.python_compiler(),
        "debug_build": hasattr(sys, "gettotalrefcount"),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "openssl": _openssl(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    return info


def _openssl() -> str | None:
    try:
        import ssl
    except ImportError:
        # An interpreter that was built without it: asyncio works there, but for TLS, and so do we.
        return None
    return ssl.OPENSSL_VERSION
