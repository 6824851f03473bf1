"""Relative links of a page made absolute: the package index shows README.md where no other file is."""

import re
from collections.abc import Iterator

# Markdown's `](target)`, a definition's `[name]: target`, HTML's attributes: each with the target last.
TARGET = re.compile(
    r"""(\]\(|^\[[^\]]+\]:[ ]+|\b(?:src|srcset|href)=")(?![a-z][a-z+.-]*:|\#|//)([^)\s"]+)""", re.MULTILINE
)
# What is not a link though it may look like one.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
SHOWN = (".png", ".svg", ".jpg", ".gif", ".webp")


def _parts(page: str) -> Iterator[tuple[str, bool]]:
    """The page in pieces, each with whether it is code."""
    at = 0
    for code in CODE.finditer(page):
        yield page[at : code.start()], False
        yield code[0], True
        at = code.end()
    yield page[at:], False


def relative(page: str) -> list[str]:
    """The targets of links that say where a file is beside this one."""
    return [found[2] for text, is_code in _parts(page) if not is_code for found in TARGET.finditer(text)]


def absolute(page: str, repository: str, version: str) -> str:
    """The page with links to the files of a release in the repository, in the form of GitHub and Forgejo."""

    def replaced(found: re.Match[str]) -> str:
        form = "raw" if found[2].partition("#")[0].lower().endswith(SHOWN) else "blob"
        return f"{found[1]}{repository}/{form}/v{version}/{found[2].removeprefix('./')}"

    return "".join(text if is_code else TARGET.sub(replaced, text) for text, is_code in _parts(page))
