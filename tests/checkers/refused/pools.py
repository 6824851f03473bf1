"""Calls with arguments that do not fit, and options that there are not."""

import aioxide


def double(number: int) -> int:
    return 2 * number


async def main(
    threads: aioxide.ThreadPoolExecutor,
    processes: aioxide.ProcessPoolExecutor,
    cluster: aioxide.ClusterExecutor,
) -> None:
    threads.submit(double, "two")  # mypy: arg-type; pyright: reportArgumentType
    processes.submit(double, 1, 2)  # mypy: call-arg; pyright: reportCallIssue
    cluster.submit(double, number="two")  # mypy: arg-type; pyright: reportArgumentType
    by_threads: str = await threads.submit(double, 2)  # mypy: arg-type; pyright: reportAssignmentType
    by_processes: str = await processes.submit(double, 2)  # mypy: arg-type; pyright: reportAssignmentType
    by_cluster: str = await cluster.submit(double, 2)  # mypy: arg-type; pyright: reportAssignmentType
    print(by_threads, by_processes, by_cluster)


aioxide.ProcessPoolExecutor(on_worker_death="restart")  # mypy: arg-type; pyright: reportArgumentType
aioxide.ProcessPoolExecutor(max_worker=1)  # mypy: call-arg; pyright: reportCallIssue
aioxide.install(1, 2)  # mypy: arg-type; pyright: reportArgumentType
aioxide.install(spacename=True)  # mypy: call-arg; pyright: reportCallIssue
