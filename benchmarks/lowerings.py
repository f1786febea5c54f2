"""Times every lowering of every primitive: value and gradients, on its own, inside ``scan`` and inside ``cond``.

    python -m benchmarks.lowerings --only depthwise --json FILE

Each form works in its own natural layout, rows or ``[N, H, W, C]``, and nothing is converted. A record may be made in
slices: rows of the same name are replaced, others stay.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.search_step import run_facts, spread
from jaxnas.nets import primitives
from jaxnas.nets.batch_norm import EPSILON, normalise_batch
from jaxnas.nets.rows import at_least_float32, to_rows, windows

Layout = Literal["rows", "nhwc"]
CONTEXTS = ("alone", "scan", "cond")
COMPUTED = ("value", "gradients")
SCANNED = 4  # Iterations of the scan: a few suffice for its body to be compiled as a loop's.
SAMPLES, SAMPLE_SECONDS, SLOW, SLOW_SAMPLES = 7, 4e-3, 0.2, 3  # Of a call of SLOW seconds there are fewer samples.


@dataclasses.dataclass(frozen=True)
class Size:
    """Images ``[batch, side, side, channels]`` and the candidates of a cell at that place of a supernet."""

    family: str
    batch: int
    channels: int
    side: int

    @property
    def candidates(self) -> int:
        """Operations on an edge, without ``none``, whose result is not added."""
        return 4 if self.family == "nb201" else 7

    @property
    def images(self) -> tuple[int, ...]:
        return self.batch, self.side, self.side, self.channels


SIZES = {
    "darts": (Size("darts", 16, 16, 32), Size("darts", 16, 64, 8)),
    "nb201": (Size("nb201", 32, 16, 32), Size("nb201", 32, 64, 8)),
    "small": (Size("darts", 32, 8, 8),),
    "paper": (Size("darts", 64, 16, 32), Size("darts", 64, 64, 8)),
}
"""By name: the first and the last cells of a supernet, which have the largest images and the most channels."""
TINY = (Size("darts", 2, 4, 8), Size("nb201", 2, 4, 8))


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to compute something.

    Attributes:
      function: of images in the layout and of a tuple of kernels in PyTorch's order.
      layout: of the images and of the result.
    """

    function: Callable[[Array, tuple[Array, ...]], Array]
    layout: Layout


@dataclasses.dataclass(frozen=True)
class Task:
    """What is computed: its forms by name, and the shapes of its images, ``[..., N, H, W, C]``, and of its kernels."""

    what: str
    forms: Mapping[str, Form]
    images: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...] = ()


def _conv_nhwc(x: Array, k: Array, stride: int = 1, dilation: int = 1, groups: int = 1) -> Array:
    """XLA's own convolution, padded by half the kernel's reach."""
    halves = [dilation * (side - 1) // 2 for side in k.shape[2:]]
    return lax.conv_general_dilated(
        x,
        k.transpose(2, 3, 1, 0),
        (stride, stride),
        [(half, half) for half in halves],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _grouped(x: Array, k: Array, stride: int, dilation: int) -> Array:
    return _conv_nhwc(x, k[:, None], stride, dilation, groups=k.shape[0])


def _pointwise_nhwc(x: Array, k: Array) -> Array:
    return jnp.einsum("nhwc,oc->nhwo", x, k[:, :, 0, 0])


def _shifts(x: Array, k: Array, batch: int, stride: int, dilation: int) -> Array:
    """Shifted slices times the kernel, left to autodiff."""
    half = (dilation * (k.shape[1] - 1) // 2, dilation * (k.shape[2] - 1) // 2)
    total, taps = at_least_float32(x.dtype), k.reshape(1, k.shape[0], -1, 1)
    views = windows(x, (k.shape[1], k.shape[2]), batch, (stride, stride), dilation, half)
    return functools.reduce(jnp.add, (view.astype(total) * taps[:, :, i] for i, view in enumerate(views))).astype(x.dtype)


def _composed(depthwise: Array, pointwise: Array) -> Array:
    """The dense kernel of a depthwise convolution that is followed by a pointwise one."""
    return pointwise * depthwise[None]


def depthwise_task(size: Size, kernel: int, stride: int, dilation: int) -> Task:
    n, c = size.batch, size.channels
    forms = {
        "jaxnas": Form(lambda x, k: primitives.depthwise(x, k[0], n, stride, dilation), "rows"),
        "shifts": Form(lambda x, k: _shifts(x, k[0], n, stride, dilation), "rows"),
        "xla grouped": Form(lambda x, k: _grouped(x, k[0], stride, dilation), "nhwc"),
    }
    return Task(_named("depthwise", kernel, stride, dilation), forms, size.images, ((c, kernel, kernel),))


def separable_task(size: Size, kernel: int, dilation: int) -> Task:
    """Depthwise, then pointwise."""
    n, c = size.batch, size.channels

    forms = {
        "jaxnas": Form(lambda x, k: primitives.convolution(primitives.depthwise(x, k[0], n, 1, dilation), k[1], n), "rows"),
        "xla grouped": Form(lambda x, k: _pointwise_nhwc(_grouped(x, k[0], 1, dilation), k[1]), "nhwc"),
        "xla composed": Form(lambda x, k: _conv_nhwc(x, _composed(*k), 1, dilation), "nhwc"),
    }
    if dilation == 1:  # The primitive of dense kernels has no dilation.
        forms["jaxnas composed"] = Form(lambda x, k: primitives.convolution(x, _composed(*k), n), "rows")
    kernels = (c, kernel, kernel), (c, c, 1, 1)
    return Task(_named("separable", kernel, 1, dilation), forms, size.images, kernels)


def dense_task(size: Size, kernel: int, stride: int) -> Task:
    n, c = size.batch, size.channels
    forms = {
        "jaxnas": Form(lambda x, k: primitives.convolution(x, k[0], n, (stride, stride)), "rows"),
        "xla": Form(lambda x, k: _conv_nhwc(x, k[0], stride), "nhwc"),
    }
    if kernel == 1:
        forms["xla product"] = Form(lambda x, k: _pointwise_nhwc(x, k[0]), "nhwc")
    what = _named("pointwise" if kernel == 1 else "dense", kernel, stride, 1)
    return Task(what, forms, size.images, ((c, c, kernel, kernel),))


def _reduce_window(x: Array, start: float, reduction: Callable[[Any, Any], Any], stride: int) -> Array:
    # NumPy's: only of a known start does JAX see that the reduction is one that it can differentiate.
    begin = np.array(start, x.dtype)
    padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
    return lax.reduce_window(x, begin, reduction, (1, 3, 3, 1), (1, stride, stride, 1), padding)


def max_pool_task(size: Size, stride: int) -> Task:
    n = size.batch

    def shifts(x: Array, k: tuple[Array, ...]) -> Array:
        return functools.reduce(jnp.maximum, windows(x, (3, 3), n, (stride, stride), 1, (1, 1), fill=-jnp.inf))

    forms = {
        "jaxnas": Form(lambda x, k: primitives.max_pool(x, n, stride), "rows"),
        "shifts": Form(shifts, "rows"),
        "xla window": Form(lambda x, k: _reduce_window(x, -np.inf, lax.max, stride), "nhwc"),
    }
    return Task(_named("max_pool", 3, stride, 1), forms, size.images)


def avg_pool_task(size: Size, stride: int) -> Task:
    counted = np.ones((1, size.side, size.side, 1), np.float32)

    def window(x: Array, k: tuple[Array, ...]) -> Array:
        total, count = (_reduce_window(a, 0, lax.add, stride) for a in (x, jnp.asarray(counted, x.dtype)))
        return total / count

    forms = {
        "jaxnas": Form(lambda x, k: primitives.avg_pool(x, size.batch, stride), "rows"),
        "xla window": Form(window, "nhwc"),
    }
    return Task(_named("avg_pool", 3, stride, 1), forms, size.images)


def batch_norm_task(size: Size) -> Task:
    def one_pass(axes: tuple[int, ...], x: Array) -> Array:
        """Both moments from one reading, at the price of digits: the variance is a difference of large numbers."""
        dtype, x = x.dtype, x.astype(at_least_float32(x.dtype))
        mean, square = x.mean(axes, keepdims=True), (x * x).mean(axes, keepdims=True)
        return ((x - mean) * lax.rsqrt(square - mean * mean + EPSILON)).astype(dtype)

    def two_passes(x: Array) -> Array:
        dtype, x = x.dtype, x.astype(at_least_float32(x.dtype))
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return ((x - mean) * lax.rsqrt(variance + EPSILON)).astype(dtype)

    forms = {
        "jaxnas": Form(lambda x, k: normalise_batch(x)[0], "rows"),
        "one pass": Form(lambda x, k: one_pass((0, 2), x), "rows"),
        "xla two passes": Form(lambda x, k: two_passes(x), "nhwc"),
        "xla one pass": Form(lambda x, k: one_pass((0, 1, 2), x), "nhwc"),
    }
    return Task("batch_norm", forms, size.images)


def mixture_task(size: Size) -> Task:
    """The results of an edge's candidates, ``[candidates, ...]``, times the edge's mixture, the kernel here."""

    def guarded(y: Array, k: tuple[Array, ...]) -> Array:
        """As ``jaxnas.nets.mixed``: each addition in a conditional on whether the edge has the operation."""
        total = jnp.zeros_like(y[0])
        for weight, result in zip(k[0], y, strict=True):
            # True of every weight here, which XLA cannot know.
            total = lax.cond(weight > -jnp.inf, lambda t, w, r: t + w * r, lambda t, w, r: t, total, weight, result)
        return total

    def added(y: Array, k: tuple[Array, ...]) -> Array:
        return functools.reduce(jnp.add, (weight * result for weight, result in zip(k[0], y, strict=True)))

    def product(y: Array, k: tuple[Array, ...]) -> Array:
        return jnp.tensordot(k[0], y, 1, preferred_element_type=at_least_float32(y.dtype)).astype(y.dtype)

    forms = {
        "jaxnas": Form(guarded, "rows"),
        "added": Form(added, "rows"),
        "xla added": Form(added, "nhwc"),
        "xla product": Form(product, "nhwc"),
    }
    return Task("mixture", forms, (size.candidates, *size.images), ((size.candidates,),))


def _named(what: str, kernel: int, stride: int, dilation: int) -> str:
    return f"{what} {kernel}x{kernel}" + f" stride {stride}" * (stride > 1) + f" dilation {dilation}" * (dilation > 1)


def tasks(size: Size) -> list[Task]:
    """What a supernet of that family computes on images of that size; the costliest first.

    >>> [task.what for task in tasks(Size("nb201", 32, 16, 32))][:2]
    ['dense 3x3', 'dense 3x3 stride 2']
    """
    wider = dataclasses.replace(size, channels=2 * size.channels)  # Where the images are halved, the channels have doubled.
    shared = [batch_norm_task(size), mixture_task(size), dense_task(size, 1, 1), avg_pool_task(size, 1)]
    if size.family == "nb201":
        return [dense_task(size, 3, 1), dense_task(wider, 3, 2), *shared]
    return [
        separable_task(size, 3, 1),
        separable_task(size, 5, 1),
        separable_task(size, 5, 2),
        *(depthwise_task(size, kernel, 1, dilation) for kernel in (3, 5) for dilation in (1, 2)),
        *shared,
        max_pool_task(size, 1),
        *(depthwise_task(wider, kernel, 2, 1) for kernel in (3, 5)),
        max_pool_task(wider, 2),
        avg_pool_task(wider, 2),
    ]


def inputs(task: Task, layout: Layout, dtype: Any) -> tuple[Array, tuple[Array, ...]]:
    """Images and kernels of noise, the same in every layout."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.standard_normal(task.images), dtype)
    convert = to_rows if images.ndim == 4 else jax.vmap(to_rows)
    kernels = tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in task.kernels)
    return (convert(images) if layout == "rows" else images), kernels


def program_of(form: Form, computed: str, context: str) -> Callable[..., Any]:
    """``f(true, images, kernels, g)``: the value, or the gradients at the result's cotangent g, in a context.

    Inside a scan the gradients are formed in its body, as the supernet's own backward pass does, and both what the body
    reads and what it writes differ from one iteration to the next.
    """

    def once(images: Array, kernels: tuple[Array, ...], g: Array) -> Any:
        return form.function(images, kernels) if computed == "value" else jax.vjp(form.function, images, kernels)[1](g)

    def program(true: Array, *arguments: Any) -> Any:
        if context == "alone":
            return once(*arguments)
        if context == "scan":
            return lax.scan(lambda carry, one: (carry, once(*one)), None, arguments)[1]
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(once, *arguments))
        return lax.cond(true, once, lambda *_: zeros, *arguments)

    return program


def measure(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Milliseconds of one of the ``repeats`` that a call does: median, least and greatest of some samples."""

    def sample(calls: int) -> float:
        began = time.perf_counter()
        # All are queued before the first is awaited: on a GPU the device is measured, not the way there.
        jax.block_until_ready([call() for _ in range(calls)])
        return (time.perf_counter() - began) / calls

    sample(1)
    one = sample(1)
    samples, calls = (SAMPLES if one < SLOW else SLOW_SAMPLES), max(1, min(50, round(SAMPLE_SECONDS / one)))
    found = [1e3 * sample(calls) / repeats for _ in range(samples)]
    return spread("milliseconds", found) | {"samples": samples}


def row_of(task: Task, name: str, computed: str, context: str, dtype: str) -> dict[str, Any]:
    """One measurement."""
    form = task.forms[name]
    images, kernels = inputs(task, form.layout, dtype)
    g = jnp.ones_like(jax.eval_shape(form.function, images, kernels))
    if context == "scan":
        images, kernels, g = jax.tree.map(lambda a: jnp.stack([a] * SCANNED), (images, kernels, g))
    arguments = jnp.asarray(True), images, kernels, g
    began = time.perf_counter()
    compiled = jax.jit(program_of(form, computed, context)).lower(*arguments).compile()
    seconds = time.perf_counter() - began
    times = measure(lambda: compiled(*arguments), SCANNED if context == "scan" else 1)
    place = {"what": task.what, "form": name, "layout": form.layout, "computed": computed, "context": context}
    return {**place, "shape": "x".join(str(side) for side in task.images), "dtype": dtype, **times, "compile_s": seconds}


def named(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What tells a row from all others."""
    return tuple(row[field] for field in ("what", "shape", "dtype", "form", "computed", "context"))


def merged(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The old rows, those of the same name replaced, then the rest of the new ones."""
    return list(({named(row): row for row in old} | {named(row): row for row in new}).values())


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines with one form each: median milliseconds in every context."""
    columns = [(computed, context) for computed in COMPUTED for context in CONTEXTS]
    lines: dict[tuple[str, ...], dict[tuple[str, str], float]] = {}
    for row in rows:
        line = lines.setdefault(named(row)[:4], {})
        line[row["computed"], row["context"]] = row["milliseconds_median"]
    yield f"{'':78}" + "".join(f"{computed:>11}" for computed, _ in columns)
    yield f"{'what':26}{'shape':22}{'dtype':10}{'form':18}" + "".join(f"{context:>11}" for _, context in columns)
    for (what, shape, dtype, form), cells in lines.items():
        found = "".join(f"{cells[column]:11.3f}" if column in cells else f"{'-':>11}" for column in columns)
        yield f"{what:26}{shape:22}{dtype:10}{form:18}{found}"


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows into a record, beside those of earlier runs on the same device and versions, which each keep their date."""
    device = jax.devices()[0]
    facts = run_facts()
    date = facts.pop("date")
    facts |= {"device": f"{device.platform} {device.device_kind}"} | {n: metadata.version(n) for n in ("jax", "jaxlib")}
    record = {**facts, "scanned": SCANNED, "rows": [{**row, "date": date} for row in rows]}
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        if {**old, "rows": []} != {**record, "rows": []}:
            raise SystemExit(f"{path} was measured on another machine or with other versions: name another file, or remove it.")
        record["rows"] = merged(old["rows"], record["rows"])
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in record["rows"])
    text = json.dumps({**record, "rows": []}, indent=1).replace("[]", f"[\n{lines}\n]")
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=SIZES, action="append", help="of the images; darts, nb201 and small by default")
    parser.add_argument("--only", help="what has this in its name, such as depthwise or max_pool")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--tiny", action="store_true", help="few and small images, to see that it works")
    parser.add_argument("--json", type=Path, help="add the rows to this record; written as they are measured")
    arguments = parser.parse_args()
    chosen = [SIZES[name] for name in arguments.size or ("darts", "nb201", "small")]
    # The first cells of all supernets, then the last: what is cut short has measured what matters.
    sizes = TINY if arguments.tiny else [group[i] for i in (0, 1) for group in chosen if i < len(group)]
    rows: list[dict[str, Any]] = []
    for task in (task for size in sizes for task in tasks(size) if (arguments.only or "") in task.what):
        for name in task.forms:
            new = [row_of(task, name, one, context, arguments.dtype) for one in COMPUTED for context in CONTEXTS]
            rows += new
            print(*list(table(new))[0 if len(rows) == len(new) else 2 :], sep="\n", flush=True)
            if arguments.json is not None:
                write(arguments.json, new)
    if not rows:
        raise SystemExit(f"Nothing has {arguments.only!r} in its name.")


if __name__ == "__main__":
    main()
