"""Slopes, spreads and refusals by a clock of our own; the programs show that no repeat is hoisted or left out."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax

from jaxnas.compiling import compile_ahead
from jaxnas.errors import UserError
from jaxnas.latency.deployed import Deployment, network_call
from jaxnas.latency.graphs import reached_by_input
from jaxnas.latency.timing import Effort, Timing, repeated, runner, time_all
from jaxnas.nets import Shape
from jaxnas.spaces import Genotype, from_text


class FakeClock:
    """A clock that only moves when something runs."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, []

    def __call__(self) -> float:
        return self.now

    def function(self, name: str, overhead: float, each: Iterator[float]) -> Callable[[int], None]:
        """What takes ``overhead`` for a call and the next value of ``each`` for every repeat of a timed turn."""
        now_each = next(each)

        def run(count: int) -> None:
            nonlocal now_each
            if count == 1 and self.calls[-1:] != [(name, 1)]:  # The warm-up of a turn.
                now_each = next(each)
            self.calls.append((name, count))
            self.now += overhead + count * now_each

        return run


def always(value: float) -> Iterator[float]:
    while True:
        yield value


def of_rounds(*values: float) -> Iterator[float]:
    """Values of the rounds, after those that calibration uses."""
    yield from (values[0], values[0])
    yield from values
    yield from always(values[-1])


def test_the_slope_is_free_of_the_overhead_of_a_call() -> None:
    clock = FakeClock()
    runs = {"short": clock.function("short", 0.5, always(0.001)), "long": clock.function("long", 0.25, always(3.0))}
    found = time_all(runs, Effort(rounds=5, seconds=0.5), clock)
    assert found["short"].seconds == pytest.approx(0.001, rel=1e-9)
    assert found["long"].seconds == pytest.approx(3.0, rel=1e-9)
    assert [timing.count for timing in found.values()] == [5, 5]


def test_functions_take_turns_and_are_warm() -> None:
    clock = FakeClock()
    runs = {name: clock.function(name, 0.0, always(0.25)) for name in ("a", "b")}
    time_all(runs, Effort(rounds=3, seconds=1.0), clock)
    turns = [("a", 1), ("a", 1), ("a", 4), ("b", 1), ("b", 1), ("b", 4)]
    assert clock.calls[-len(turns) * 3 :] == turns * 3


def test_median_and_spread_are_those_of_the_rounds() -> None:
    clock, values = FakeClock(), (1.0, 1.1, 0.9, 1.05, 40.0)
    runs = {"disturbed once": clock.function("disturbed once", 0.1, of_rounds(*values))}
    found = time_all(runs, Effort(rounds=5, seconds=0.5), clock)["disturbed once"]
    low, median, high = np.percentile(values, (25, 50, 75))
    assert found.seconds == pytest.approx(median)
    assert found.spread == pytest.approx((high - low) / 1.3489795, rel=1e-6)


def test_what_is_too_noisy_is_refused_by_name() -> None:
    clock, effort = FakeClock(), Effort(rounds=5, most_rounds=9, seconds=0.5)
    runs = {
        "steady": clock.function("steady", 0.0, always(1.0)),
        "shaking row": clock.function("shaking row", 0.0, itertools.cycle((1.0, 1.5, 0.5))),
    }
    with pytest.raises(
        UserError, match=r"shaking row is too noisy to believe: 1000.0000 ms with .* after 9 rounds, more than 15%"
    ):
        time_all(runs, effort, clock)
    assert time_all(runs, dataclasses.replace(effort, limit=2.0), clock)["steady"] == Timing(1.0, 0.0, 5)


def test_what_is_noisy_at_first_has_more_rounds() -> None:
    clock, effort = FakeClock(), Effort(rounds=3, most_rounds=20, seconds=0.5)
    runs = {
        "steady": clock.function("steady", 0.0, always(1.0)),
        "calms": clock.function("calms", 0.0, of_rounds(1.0, 2.0, 3.0, 1.0)),
    }
    found = time_all(runs, effort, clock)
    # The upper quartile of 1.0 seven times, 2.0 and 3.0 is the first that is 1.0.
    assert found == {"steady": Timing(1.0, 0.0, 3), "calms": Timing(1.0, 0.0, 9)}


def test_the_noise_of_what_does_nothing_is_believed() -> None:
    clock = FakeClock()
    runs = {"identity": clock.function("identity", 1.0, of_rounds(-1e-9, 1e-9, -2e-9, -1e-9, 2e-9))}
    found = time_all(runs, Effort(rounds=5, seconds=0.5), clock)["identity"]
    assert found.seconds == 0.0 and 0 < found.spread < 1e-8


@pytest.mark.parametrize(
    ("field", "value"), [("rounds", 2), ("most_rounds", 10), ("seconds", 0.0), ("limit", -0.1), ("floor", float("nan"))]
)
def test_an_effort_that_means_nothing_is_refused(field: str, value: float) -> None:
    with pytest.raises(UserError, match=field.rstrip("s")):
        Effort(**{field: value})  # pyright: ignore[reportArgumentType]


def product(weights: Array, x: Array) -> Array:
    return jnp.tanh(x @ weights)


def dots(text: str) -> tuple[int, int]:
    """Matrix products of a compiled program inside its loop's body, and outside."""
    bodies = {match[1]: match[2] for match in re.finditer(r"^(?:ENTRY )?%([\w.-]+) [^\n]*\{\n(.*?)^\}", text, re.M | re.S)}
    found, new = set(), set(re.findall(r"body=%([\w.-]+)", text))
    while new:
        found |= new
        new = {name for at in new for name in re.findall(r"(?:calls|to_apply)=%([\w.-]+)", bodies[at])} - found
    count = {name: len(re.findall(r" dot\(", body)) for name, body in bodies.items()}
    inside = sum(count[name] for name in found)
    return inside, sum(count.values()) - inside


def test_xla_keeps_the_work_in_the_loop() -> None:
    weights, x = jnp.ones((8, 8)), jnp.ones((4, 8))
    assert dots(repeated(product, weights, x).call.as_text()) == (1, 0)

    def not_fed(count: Array, weights: Array, x: Array) -> Array:
        return lax.fori_loop(0, count, lambda _, y: product(weights, x), jnp.zeros((4, 8)))

    # The test can fail: of repeats that do not feed each other XLA does the work once, before the loop.
    assert dots(compile_ahead(not_fed, jnp.int32(0), weights, x).call.as_text()) == (0, 1)


def test_every_repeat_is_fed_by_the_one_before() -> None:
    x = jnp.ones((2, 3))
    program = repeated(lambda weights, x: weights * x, jnp.float32(2), x).call
    fed, y = program(jnp.int32(4), jnp.float32(2), x, jnp.float32(1))
    # x0 + 2 x0 in each repeat but the first, which nothing feeds.
    assert fed.ravel().tolist() == [27.0, 1.0, 1.0, 1.0, 1.0, 1.0] and y.ravel().tolist() == [54.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    unfed, y = program(jnp.int32(4), jnp.float32(2), x, jnp.float32(0))
    assert unfed.tolist() == x.tolist() and y.tolist() == (2 * x).tolist()


def test_a_compiled_function_runs() -> None:
    x = jnp.ones((2, 3))
    run = runner(repeated(lambda weights, x: weights * x, jnp.float32(2), x), jnp.float32(2), x)
    assert run(3) is None


def test_what_the_images_do_not_reach_is_computed_once() -> None:
    shape = Shape(channels=2, cells=1, classes=2, image_size=4)
    unreached = from_text("|none~0|+|none~0|nor_conv_1x1~1|+|nor_conv_1x1~0|none~1|nor_conv_1x1~2|")
    assert reached_by_input(unreached) == from_text("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")
    reached = from_text("|none~0|+|nor_conv_1x1~0|none~1|+|nor_conv_1x1~0|none~1|nor_conv_1x1~2|")

    def products(genotype: Genotype) -> int:
        evaluate, variables, images = network_call(genotype, shape, Deployment())
        inside, _ = dots(repeated(evaluate, variables, images).call.as_text())
        return inside

    # Two more convolutions in each of the three stages' cells run, but only where the images reach them.
    kept = products(reached_by_input(unreached))
    assert (products(unreached), products(reached)) == (kept, kept + 6)
