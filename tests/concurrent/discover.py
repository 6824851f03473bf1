"""Count tests and exclusions without running any: ``python -m tests.concurrent.discover`` prints JSON."""

import json

from tests.cpython.discover import counts
from tests.cpython.exclusions import Exclusions

from . import suite

if __name__ == "__main__":
    modules = sorted({suite.split(name)[0] for name in suite.parts()})
    names = [suite.full_name(module) for module in modules]
    print(json.dumps(counts(names, Exclusions(suite.HERE / "exclusions.toml"))))
