"""The cluster that a file's tests share, and a pool over it."""

import aioxide
import pytest


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    # Not at the top: the module skips whoever imports it where distributed is missing.
    from tests.cluster.support import cluster

    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def pool(running):
    from tests.cluster import support

    with aioxide.ClusterExecutor(scheduler_file=running.file, pickle_by_value=[support]) as pool:
        pool.client.wait_for_workers(2, timeout=60)
        yield pool
