"""The source distribution is unpacked once, however many processes of pytest-xdist ask for it at the same moment."""

import hashlib
import io
import multiprocessing
import tarfile

from . import sdist


def small_archive(path):
    with tarfile.open(path, "w:gz") as tar:
        for number in range(200):
            member = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/tests/test_{number}.py")
            tar.addfile(member, io.BytesIO())


def ask(cache, barrier, answers):
    sdist.CACHE, sdist.FOLDER = cache, cache / f"{sdist.NAME}-{sdist.VERSION}"
    sdist.SHA256 = hashlib.sha256((cache / f"{sdist.FOLDER.name}.tar.gz").read_bytes()).hexdigest()
    barrier.wait(60)
    try:
        answers.put(len(list((sdist.folder() / "path" / sdist.PACKAGE).iterdir())))
    except Exception as error:
        answers.put(repr(error))


def test_many_processes_at_once(tmp_path):
    small_archive(tmp_path / f"{sdist.NAME}-{sdist.VERSION}.tar.gz")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    processes = [context.Process(target=ask, args=(tmp_path, barrier, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(30)
    assert found == [200] * 4
