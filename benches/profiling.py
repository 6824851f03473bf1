"""`python -m benches profile CASE`: where a loop's process spends its time, by shared object and by symbol.

perf samples the process of one lane while the case runs in it again and again; the clients are not in the
picture. The event is `cpu-clock`, which needs no hardware counters, so that it works in a virtual machine
too.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from .case import Case, Settings
from .lanes import LANES, OURS
from .processes import Failed, Stage, build_native
from .registry import load_all
from .results import human


@contextlib.contextmanager
def recording(pid: int, data: Path, frequency: int):
    command = [
        "perf",
        "record",
        "--quiet",
        "--event",
        "cpu-clock",
        "--freq",
        str(frequency),
        "--pid",
        str(pid),
    ]
    perf = subprocess.Popen([*command, "--output", str(data)], stderr=subprocess.PIPE, text=True)
    # perf tells nobody that it has attached; what runs in its first moments is lost, which biases nothing.
    time.sleep(0.3)
    if perf.poll() is not None:
        raise SystemExit(f"benches: perf: {perf.stderr.read().strip()}")
    try:
        yield
    finally:
        # The signal on which it writes its file.
        perf.send_signal(signal.SIGINT)
        perf.communicate(timeout=60)


def shares(data: Path) -> list[tuple[float, str, str]]:
    """Percent of the samples, shared object, symbol; all addresses without a symbol count as one."""
    command = ["perf", "report", "--stdio", "--no-children", "--input", str(data), "--sort", "dso,symbol"]
    done = subprocess.run([*command, "--field-separator", ";"], capture_output=True, text=True)
    total: Counter[tuple[str, str]] = Counter()
    for line in done.stdout.splitlines():
        if line.startswith("#") or line.count(";") < 2:
            continue
        percent, shared_object, symbol = (field.strip() for field in line.split(";")[:3])
        symbol = "(no symbols)" if symbol.split()[-1].startswith("0x") else symbol
        total[shared_object, symbol] += float(percent.rstrip("%"))
    if not total:
        raise SystemExit(f"benches: perf took no samples: {done.stderr.strip()}")
    return [(percent, *key) for key, percent in total.most_common()]


def show(found: list[tuple[float, str, str]], limit: float) -> None:
    objects: Counter[str] = Counter()
    for percent, shared_object, _ in found:
        objects[shared_object] += percent
    print("\nby shared object")
    for shared_object, percent in objects.most_common():
        print(f"  {percent:6.2f}%  {shared_object}")
    print("\nby symbol")
    for percent, shared_object, symbol in found:
        if percent >= limit:
            print(f"  {percent:6.2f}%  {shared_object[:28]:28}  {symbol}")


def repeat(case, process, settings, seconds: float) -> list[float]:
    costs = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        costs.append(case.sample(process, settings).cost)
    return costs


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches profile", description=__doc__.splitlines()[0])
    parser.add_argument("case", metavar="CASE", help="a case, or a family: its smallest size")
    parser.add_argument("--loop", choices=list(LANES), default=OURS, help="(default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long to sample (default: %(default)s)"
    )
    parser.add_argument("--frequency", type=int, default=4000, help="samples a second (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=0.7, help="least share shown, in %% (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep perf's data there")
    return parser.parse_args(arguments)


def chosen(name: str) -> Case:
    """The case of that name. A process that lives for one sample only is too short to look into."""
    lasting = {case.name: case for case in load_all().values() if not case.fresh}
    families = {case.family: case for case in reversed(lasting.values())}
    if found := lasting.get(name) or families.get(name):
        return found
    raise SystemExit(f"benches: no case {name} whose process lasts (`python -m benches list`)")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if shutil.which("perf") is None:
        raise SystemExit("benches: perf is not installed (Debian: apt-get install linux-perf)")
    case, lane, settings, stage = chosen(options.case), options.loop, Settings(), Stage()
    if why := LANES[lane].missing() or case.unavailable():
        raise SystemExit(f"benches: {lane}: {why}")
    build_native()
    with tempfile.TemporaryDirectory() as folder:
        data = options.keep or Path(folder) / "perf.data"
        try:
            process = case.start(stage, lane, settings)
            case.sample(process, settings)
            with recording(process.pid, data, options.frequency):
                costs = repeat(case, process, settings, options.seconds)
        except Failed as failure:
            raise SystemExit(f"benches: {lane}: {failure}") from None
        finally:
            stage.clear()
        print(
            f"{case.title} on {lane}: {len(costs)} rounds, "
            f"best {human(min(costs), case.unit)} a {case.operation}"
        )
        show(shares(data), options.limit)
    return 0
