"""Calls on other machines: the pool over Dask's distributed, its calls on their way, and what is sent there."""

from .calls import (
    BrokenCluster as BrokenCluster,
    BrokenClusterWorker as BrokenClusterWorker,
    ClusterFuture as ClusterFuture,
)
from .executor import ClusterExecutor as ClusterExecutor
