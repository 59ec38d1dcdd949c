"""Threads for work that waits for other programs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from .errors import LabError


@contextmanager
def side_by_side(workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads. When one piece of work fails, the others that have begun are finished; a keyboard interrupt waits for nothing."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    except LabError:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
