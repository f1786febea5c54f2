"""The error of implicit hypergradients against a dense solve, by truncation and damping.

A network of two layers on handwritten digits, with four candidate functions on each hidden unit, is trained until its loss
hardly moves. There its Hessian is written out, which 1,210 weights allow, and the damped system solved by a factorisation. The
script writes ``results/implicit_hypergradients.json`` and the table ``results/implicit_hypergradients.md`` beside itself.

    python benchmarks/implicit_hypergradients.py
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from jaxnas.data import Split, load
from jaxnas.hypergradients import Hypergradient, conjugate_gradient, first_order, neumann, unrolled
from jaxnas.losses import mean_cross_entropy
from jaxnas.optimizers import sgd
from jaxnas.run_folder import environment

HIDDEN, CANDIDATES = 16, (jnp.tanh, jnp.sin, jax.nn.softplus, lambda x: x)
DESCENT, TRAIN_STEPS, RATE, DECAY = 0.9, 2000, 0.1, 1e-3
STEPS, DAMPINGS = (1, 3, 10, 30, 100), (0.0, 0.01, 0.1, 1.0)
RESULTS = Path(__file__).parent / "results"

Loss = Callable[[Any, Any], Array]


def network_loss(split: Split) -> Loss:
    """Mean cross-entropy of a hidden layer whose units are mixtures, on a whole half of the data."""
    images = jnp.asarray(split.images[..., 0].reshape(len(split.labels), -1) / 255)
    labels = jnp.asarray(split.labels)

    def loss(weights: Any, alphas: Array) -> Array:
        before = images @ weights["hidden"]["kernel"] + weights["hidden"]["bias"]
        outputs = jnp.stack([candidate(before) for candidate in CANDIDATES], axis=-1)
        hidden = (outputs * jax.nn.softmax(alphas)).sum(-1)
        return mean_cross_entropy(hidden @ weights["output"]["kernel"] + weights["output"]["bias"], labels)

    return loss


def start(pixels: int, classes: int) -> tuple[Any, Array]:
    """Weights and alphas: normal draws, the weights' with variance 1 / inputs."""
    rng = np.random.Generator(np.random.PCG64(0))

    def layer(inputs: int, outputs: int) -> dict[str, Array]:
        kernel = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        return {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(outputs)}

    weights = {"hidden": layer(pixels, HIDDEN), "output": layer(HIDDEN, classes)}
    return weights, jnp.asarray(0.1 * rng.normal(size=(HIDDEN, len(CANDIDATES))))


def trained(loss: Loss, weights: Any, alphas: Array) -> Any:
    """Weights after gradient descent with momentum and decay, all images in every step."""
    optimizer = sgd(RATE, DESCENT, DECAY)

    def step(_: Any, carry: Any) -> Any:
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights, alphas), state, weights)
        return optax.apply_updates(weights, updates), state

    return jax.jit(lambda w: jax.lax.fori_loop(0, TRAIN_STEPS, step, (w, optimizer.init(w)))[0])(weights)


class Dense:
    """All derivatives at one point as matrices, by NumPy's solver: nothing of it is shared with the hypergradients.

    The Hessian has the decay in it, as the weights were trained with it.
    """

    def __init__(self, train: Loss, valid: Loss, weights: Any, alphas: Array) -> None:
        flat, unravel = ravel_pytree(weights)

        def gradient(flat: Array, alphas: Array) -> Array:
            return jax.grad(lambda w: train(unravel(w), alphas))(flat)

        self.gradient = np.asarray(gradient(flat, alphas)) + DECAY * np.asarray(flat)
        self.hessian = np.asarray(jax.jit(jax.jacfwd(gradient))(flat, alphas)) + DECAY * np.eye(flat.size)
        mixed = np.asarray(jax.jit(jax.jacfwd(gradient, argnums=1))(flat, alphas))
        self.mixed = mixed.reshape(flat.size, -1)
        of_weights, direct = jax.grad(lambda w, a: valid(unravel(w), a), argnums=(0, 1))(flat, alphas)
        self.of_weights, self.direct = np.asarray(of_weights), np.asarray(direct).ravel()
        self.eigenvalues = np.linalg.eigvalsh(self.hessian)

    def hypergradient(self, damping: float) -> np.ndarray:
        damped = self.hessian + damping * np.eye(len(self.hessian))
        return self.direct - self.mixed.T @ np.linalg.solve(damped, self.of_weights)


def candidates(dense: Dense) -> Iterator[tuple[dict[str, Any], float, Hypergradient]]:
    """What a row says of itself, the damping of the solution it is compared with, the hypergradient."""
    for damping in DAMPINGS:
        # The fastest rate that is safe for every eigenvalue that is not negative.
        rate = 1 / (float(dense.eigenvalues[-1]) + damping)
        for steps in STEPS:
            setting = {"damping": damping, "steps": steps}
            yield {"method": "neumann", **setting, "rate": rate}, damping, neumann(steps, rate, DECAY + damping)
            yield {"method": "conjugate_gradient", **setting}, damping, conjugate_gradient(steps, DECAY + damping)
        yield {"method": "first_order", "damping": damping}, damping, first_order()
        yield {"method": "unrolled", "damping": damping, "steps": 1, "rate": RATE}, damping, unrolled()


def measure() -> dict[str, Any]:
    """The record."""
    data = load("digits")
    train, valid = network_loss(data.search_train), network_loss(data.search_valid)
    weights, alphas = start(data.image_size**2, data.classes)
    weights = trained(train, weights, alphas)
    dense = Dense(train, valid, weights, alphas)
    optimizer = sgd(RATE, 0.0, DECAY)
    rows = []
    for row, damping, method in candidates(dense):
        value, gradient = jax.jit(lambda w, a, m=method: m(train, valid, w, a, optimizer, optimizer.init(w)))(weights, alphas)
        expected = dense.hypergradient(damping)
        error = np.linalg.norm(np.asarray(gradient).ravel() - expected) / np.linalg.norm(expected)
        report = value[1]["hypergradient"] if isinstance(value, tuple) else {}
        found = {"steps_done" if name == "steps" else name: float(number) for name, number in report.items()}
        rows.append({**row, "error": float(error), **found})
    return {
        "what": "python benchmarks/implicit_hypergradients.py",
        "environment": environment(),
        "weights": int(dense.hessian.shape[0]),
        "alphas": int(dense.direct.size),
        "train_loss": float(train(weights, alphas)),
        "valid_loss": float(valid(weights, alphas)),
        "weight_gradient_norm": float(np.linalg.norm(dense.gradient)),
        "least_eigenvalue": float(dense.eigenvalues[0]),
        "largest_eigenvalue": float(dense.eigenvalues[-1]),
        "rows": rows,
    }


def table(record: dict[str, Any]) -> str:
    """The record in words and a Markdown table."""
    lines = [
        "# Implicit hypergradients against a dense solve",
        "",
        f"`{record['what']}`, float64, {record['environment']['date'][:10]}, JAX {record['environment']['packages']['jax']}, "
        f"{record['environment']['devices'][0]}.",
        "",
        f"Two layers on digits, {record['weights']:,} weights, {record['alphas']} alphas, trained to a loss of "
        f"{record['train_loss']:.4f} (gradient {record['weight_gradient_norm']:.1e}) with a weight decay of {DECAY:g}, which "
        f"the Hessian contains; its eigenvalues are {record['least_eigenvalue']:.2e} to {record['largest_eigenvalue']:.2f}.",
        "",
        "Error: distance from the hypergradient of the dense solve at the same damping, relative to its size. Residual: what "
        "the method itself says, of the linear system. The rate of the Neumann series is 1 / (largest eigenvalue + damping). "
        "First order and one unrolled step have no damping; they are compared with the same solution.",
        "",
        "| damping | method | steps | error | residual | negative curvature |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(record["rows"], key=lambda row: (row["damping"], row["method"])):
        stopped = f"after {row['steps_done']:.0f}" if row.get("negative_curvature") else ""
        residual = f"{row['residual']:.1e}" if "residual" in row else ""
        cells = (f"{row['damping']:g}", row["method"], str(row.get("steps", "")), f"{row['error']:.1e}", residual, stopped)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with jax.enable_x64(True):
        record = measure()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "implicit_hypergradients.json").write_text(json.dumps(record, indent=1) + "\n")
    (RESULTS / "implicit_hypergradients.md").write_text(table(record))
    print(table(record))


if __name__ == "__main__":
    main()
