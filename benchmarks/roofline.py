"""An estimate, not a measurement: seconds of one search step on a TPU v5p slice, by roofline.

    python benchmarks/roofline.py [--images 8 64] [--out FILE]

Reductions and their bytes are those that ``communication.py`` counted in the compiled program. All else is assumed, and every
assumption is a constant below; docs/scaling.md says why. The images are those of each chip: the batch grows with the slice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tyro

RESULTS = Path(__file__).parent / "results"

# Of a chip, from Google's page on TPU v5p: 2765 GB/s of memory, 1200 GB/s of links in both directions together.
MEMORY_BYTES_PER_SECOND = 2765e9
LINK_BYTES_PER_SECOND = 600e9
PEAK_FLOPS = 459e12
# float32 products as six of bfloat16, what JAX's precision "highest" asks for; its default, one, is faster and less exact.
BFLOAT16_PRODUCTS = 6

# Ours: a reduction starts in 2 microseconds and takes 1 more for each hop, there and back along every axis of the torus.
START_SECONDS, HOP_SECONDS = 2e-6, 1e-6
TORUS = {8: (2, 2, 2), 64: (4, 4, 4), 512: (8, 8, 8)}

# Passes over an edge's state in one forward pass, counted by hand, nothing fused. A convolution: activated (read, written),
# convolved (read, written), normalised (read twice for its moments, then read and written); the pool: read, written; the
# identity: read; and their sum, in which each of the four is read and the state read and written.
FORWARD_PASSES = 2 * 8 + 2 + 1 + 6
# One forward pass, one more to compute each edge again, and twice that for the gradients.
PASSES = 4 * FORWARD_PASSES
# Forward, again, gradients in images and in kernels; of the alphas' update no kernels: (4 + 3) times the forward multiply-adds.
FORWARDS_OF_A_STEP = 7
UPDATES = 2


def edge_elements(channels: int, cells: int, size: int) -> int:
    """Elements of the states that the six edges of NAS-Bench-201's cells add to, for one image; ``cells`` in each of 3 stages.

    >>> edge_elements(channels=16, cells=5, size=32)
    860160
    """
    return sum(6 * cells * channels * 2**stage * (size // 2**stage) ** 2 for stage in range(3))


def estimate(step: dict[str, Any], multiply_adds: int, images: int, chips: int) -> dict[str, Any]:
    """Milliseconds of a step by what they go into, and how efficient the chips are beside one that has nobody to talk to."""
    traffic = edge_elements(16, 5, 32) * 4 * PASSES * UPDATES * images
    compute = multiply_adds * 2 * FORWARDS_OF_A_STEP * BFLOAT16_PRODUCTS * images / PEAK_FLOPS
    number = sum(kind["number"] for kind in step["reduced"].values())
    reduced = sum(kind["bytes"] for kind in step["reduced"].values())
    alone = max(traffic / MEMORY_BYTES_PER_SECOND, compute)
    waiting = number * (START_SECONDS + HOP_SECONDS * sum(TORUS[chips]))
    sending = 2 * (chips - 1) / chips * reduced / LINK_BYTES_PER_SECOND
    return {
        "chips": chips,
        "images_per_chip": images,
        "batch": images * chips,
        "memory_ms": round(traffic / MEMORY_BYTES_PER_SECOND * 1e3, 2),
        "compute_ms": round(compute * 1e3, 2),
        "latency_of_reductions_ms": round(waiting * 1e3, 2),
        "bytes_of_reductions_ms": round(sending * 1e3, 3),
        "step_ms": round((alone + waiting + sending) * 1e3, 1),
        "efficiency": round(alone / (alone + waiting + sending), 3),
    }


RECIPE = "nb201-darts-v1"


def main(images: tuple[int, ...] = (8, 64), out: Path = RESULTS / "roofline.json") -> None:
    """Estimates a step of NAS-Bench-201's first-order search on CIFAR-10 on 8, 64 and 512 chips."""
    from jaxnas import counting, searching
    from jaxnas.data import stand_in
    from jaxnas.recipes import find

    steps = json.loads((RESULTS / "communication.json").read_text())["steps"]
    step = next(step for step in steps if step["recipe"] == RECIPE)
    search, dataset = find(RECIPE).search, stand_in("cifar10")
    assert dataset is not None
    assert (search.channels, search.cells, search.space) == (16, 5, "nb201")
    layers = counting.by_layer(searching.search_network(search, dataset), 32, search.build_space())
    multiply_adds = sum(layers[kind] for kind in counting.COUNTERS["conv_linear"])
    rows = [estimate(step, multiply_adds, count, chips) for count in images for chips in TORUS]
    record = {"recipe": RECIPE, "multiply_adds": multiply_adds, "forward_passes": FORWARD_PASSES, "estimates": rows}
    out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
