"""Go through many items with an artifact that is loaded several times, so that every core works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from qtriton.progress import Progress
from qtriton.target import Target

#: How often an artifact is loaded at most, as each time takes its memory, and for how many items once more.
_COPIES: Final = 4
_ITEMS_EACH: Final = 8

Result = TypeVar("Result")
Loaded = TypeVar("Loaded")
#: What loads something for as long as a block runs.
Load: TypeAlias = Callable[[], AbstractContextManager[Loaded]]


@contextmanager
def worker_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads whose queue is dropped when the block is left: Ctrl-C waits for what runs, not for what waits."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def copies(target: Target, items: int) -> tuple[Target, int]:
    """With how many threads an artifact is loaded for a pass over so many items, and how often.

    Several copies with few threads do more than one with many; on a GPU there is one.
    """
    cores = len(os.sched_getaffinity(0))
    count = 1 if target.device else max(1, min(_COPIES, cores // target.threads, items // _ITEMS_EACH))
    return replace(target, threads=max(target.threads, cores // count)), count


def in_parallel(
    load: Load[Loaded], count: int, items: int, work: Callable[[Loaded, int], Result], progress: Progress
) -> list[Result]:
    """work(copy, place) for every place below `items`, in order; each of `count` copies is used by one thread.

    Raises:
        Exception: as `work` raised it first; what has not begun is left out.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    for place in range(items):
        waiting.put(place)
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def give_up() -> None:
        with suppress(Empty):
            while True:
                waiting.get_nowait()

    def go() -> None:
        try:
            with load() as run:
                while True:
                    place = waiting.get_nowait()
                    done.put((place, work(run, place), None))
        except Empty:
            pass
        except BaseException as error:
            give_up()
            done.put((-1, None, error))

    results: dict[int, Result] = {}
    with worker_threads(count) as pool:
        for _ in range(count):
            pool.submit(go)
        try:
            while len(results) < items:
                place, result, error = done.get()
                if error is not None:
                    raise error
                results[place] = result
                progress(len(results), items)
        finally:
            give_up()
    return [results[place] for place in range(items)]
