"""Compilation ahead of time, with its seconds."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled function and what it took.

    Attributes:
      call: the function; arguments must have the shapes it was compiled for.
      trace_seconds: to trace and lower it.
      compile_seconds: in XLA, or to load the program where the persistent cache has it.
      from_cache: whether it did.
    """

    call: Callable[..., Any]
    trace_seconds: float
    compile_seconds: float
    from_cache: bool = False


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Tracing makes millions of objects and drops few in cycles: looking for those takes much of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _events_of_jax() -> Iterator[list[str]]:
    """What JAX tells its listeners meanwhile: they alone hear of a program that came from the cache."""
    events: list[str] = []

    def listen(event: str, **_: Any) -> None:
        events.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_listener(listen)


def compile_ahead(function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()) -> Compiled:
    """Compiles a function for the shapes of these arguments, which it does not run on.

    >>> double = compile_ahead(lambda x: 2 * x, jax.numpy.ones(3))
    >>> double.call(jax.numpy.ones(3)).tolist()
    [2.0, 2.0, 2.0]
    """
    start = time.perf_counter()
    with _no_garbage_collection():
        lowered = jax.jit(function, donate_argnums=donate).lower(*arguments)
    traced = time.perf_counter()
    with _events_of_jax() as events:
        compiled = lowered.compile()
    from_cache = "/jax/compilation_cache/cache_hits" in events
    return Compiled(compiled, traced - start, time.perf_counter() - traced, from_cache)
