"""What every estimator has in common: the compiled step, determinism, its state, one-hot alphas, the order of candidates."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from experiments import estimators as toy
from jaxnas import methods
from jaxnas.bilevel import initial_state, search_step
from jaxnas.composition import TAKES_SECOND_DERIVATIVES
from jaxnas.derive import derive, one_hot_mixture
from jaxnas.errors import UserError
from jaxnas.estimators import ESTIMATORS, radius, start, temperature
from jaxnas.recipe import SearchRecipe
from jaxnas.spaces import CellSpace, fbnet, nb201_family

pytestmark = pytest.mark.usefixtures("float64")


SPACE: CellSpace = toy.SPACE
OWN: dict[str, dict[str, Any]] = {
    "gdas": {"temperature": 2.0, "temperature_end": 0.5},
    "snas": {"temperature": 0.5, "temperature_end": 0.5},
    "drnas": {"divergence": 1e-3},
    "sdarts_rs": {"radius": 0.03, "radius_end": 0.3},
    "sdarts_adv": {"radius": 0.03, "radius_end": 0.3},
    "reinforce": {"paths": 4},
}
VARIANTS: dict[str, dict[str, Any]] = {name: {"estimator": name, **OWN.get(name, {})} for name in ESTIMATORS if name != "enas"}
# ENAS has a controller in place of alphas: tests/relaxations/test_enas.py.
VARIANTS["gdas, sampled only"] = {**VARIANTS["gdas"], "unsampled": "nothing"}
VARIANTS["proxyless, full"] = {"estimator": "proxyless", "gates": "full"}
VARIANTS["proxyless, two"] = {"estimator": "proxyless", "gates": "two"}
VARIANTS["snas, together"] = {**VARIANTS["snas"], "order": "together"}


def recipe_of(variant: str) -> SearchRecipe:
    return SearchRecipe(space="nb201", epochs=3, alpha_learning_rate=0.05, alpha_deviation=0.5, **VARIANTS[variant])


def loss(weights: Any, mixture: Any, batch: Any, key: Array, scalars: Any) -> Any:
    """The toy's, with weights; partial channels count as one more candidate that gives a number."""
    columns = mixture["cell"]["weights"] if isinstance(mixture["cell"], dict) else mixture["cell"]
    extra = jnp.zeros(())
    if columns.shape[-1] == 4:
        extra, mixture = jnp.sin(columns[:, 0]).sum(), {"cell": columns[:, 1:]}
    scaled = jax.tree.map(lambda part: part if part.dtype == bool or part.ndim == 1 else weights * part, mixture)
    value = toy.network(0)(scaled) + (extra + batch["x"]) ** 2 + 0.01 * (weights**2).sum()
    return value, {"metrics": {"accuracy": jnp.exp(-value)}, "moments": {"mean": batch["x"]}}


def batches(i: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Of training and validation."""
    return {"x": jnp.asarray(0.1 * i)}, {"x": jnp.asarray(0.2 * i)}


def prepared(variant: str) -> tuple[Any, Any]:
    """The compiled step and the first state."""
    recipe = recipe_of(variant)
    method = methods.build(recipe, SPACE, steps_per_epoch=2)
    alphas = start(recipe, SPACE, jax.random.key(3))
    state = initial_state(method, jax.random.key(7), jnp.ones((3, 3)), alphas, {"mean": jnp.zeros(())})
    return jax.jit(search_step(method, loss, loss)), state


def as_stored(state: Any) -> tuple[list[np.ndarray], Any]:
    """The state as arrays of NumPy."""
    leaves, form = jax.tree.flatten(dataclasses.replace(state, key=jax.random.key_data(state.key)))
    return [np.asarray(leaf) for leaf in leaves], form


def read_back(stored: tuple[list[np.ndarray], Any]) -> Any:
    state = jax.tree.unflatten(stored[1], [jnp.asarray(leaf) for leaf in stored[0]])
    return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_compiled_step_is_deterministic_and_its_state_goes_through_files(variant: str) -> None:
    step, first = prepared(variant)

    def run(state: Any, steps: int) -> Any:
        for i in range(steps):
            state, metrics = step(state, *batches(i))
            assert all(np.isfinite(v) or np.isnan(v) for v in metrics.values())
        return state

    whole = run(first, 4)
    again = run(read_back(as_stored(run(first, 0))), 4)
    halves = read_back(as_stored(run(first, 2)))
    for i in (2, 3):
        halves, _ = step(halves, *batches(i))
    for other in (again, halves):
        for a, b in zip(as_stored(whole)[0], as_stored(other)[0], strict=True):
            np.testing.assert_array_equal(a, b)
    for kind, alpha in whole.alphas.items():
        moved = np.abs(np.asarray(alpha - first.alphas[kind])).sum(-1) > 0
        if variant == "rsps":
            assert not moved.any()
        elif not variant.startswith("proxyless"):  # whose rows rest where none was drawn
            assert moved.all()
    other_seed = dataclasses.replace(first, key=jax.random.key(8))
    others = run(other_seed, 4)
    same = all((np.asarray(a) == np.asarray(others.alphas[kind])).all() for kind, a in whole.alphas.items())
    same &= bool((whole.weights == others.weights).all())
    assert same == (variant in ("softmax", "pc_darts")), "only these two draw nothing"


# SETN and RSPS draw the weights' path without regard to the alphas.
@pytest.mark.parametrize(
    ("variant", "phase"),
    [
        (name, phase)
        for name in VARIANTS
        for phase in ("weights", "alphas")
        if (name, phase) not in (("setn", "weights"), ("rsps", "weights"))
    ],
)
def test_one_hot_alphas_give_the_derived_network(variant: str, phase: Any) -> None:
    """Alphas that all but decide: the mixture is the genotype's, which is the derived network by test_supernet."""
    recipe = recipe_of(variant)
    decided = 60.0 * (2 * np.eye(3)[[2, 1, 2]] - 1)
    alphas: Any = {"cell": jnp.asarray(decided), **({"cell_edges": jnp.zeros(3)} if variant == "pc_darts" else {})}
    expected = np.asarray(one_hot_mixture(SPACE, derive(SPACE, alphas))["cell"])
    scalars = {"temperature": jnp.asarray(0.5), "radius": jnp.asarray(0.0)}
    mixture, probabilities = methods.build(recipe, SPACE, 2).relax(alphas, jax.random.key(0), scalars, phase)
    np.testing.assert_allclose(probabilities["cell"], expected, atol=1e-12)
    if variant == "pc_darts":
        halves = np.array([1.0, 0.5, 0.5])[:, None]  # node 1 has one edge, node 2 two
        np.testing.assert_allclose(mixture["cell"], halves * np.concatenate([np.ones((3, 1)), expected], 1), atol=1e-12)
        return
    paths = mixture["paths"]["cell"] if "paths" in mixture else jax.tree.map(lambda a: a[None], mixture["cell"])
    weights = paths["weights"] if isinstance(paths, dict) else paths
    for one in np.asarray(weights):
        np.testing.assert_allclose(one, expected, atol=1e-12)
    if isinstance(paths, dict):
        np.testing.assert_array_equal(paths["active"][0], expected > 0)
        np.testing.assert_array_equal(paths.get("offset", 0.0), 0.0)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("pc_darts", "rsps", "snas, together")])
def test_the_order_of_the_candidates_does_not_matter(variant: str) -> None:
    """On average over the draws: with columns of space, alphas and network exchanged the gradient's are, too."""
    order = np.array([2, 0, 1])
    names = tuple(SPACE.cell("cell").operations[0][column] for column in order)
    exchanged = nb201_family("exchanged", names, nodes=2)
    alphas, scalars = toy.alphas_of("midway"), {"temperature": jnp.asarray(0.7), "radius": jnp.asarray(0.1)}

    def back(part: Array) -> Array:
        return part if part.ndim == 1 else part[..., np.argsort(order)]

    def gradients(space: CellSpace, alphas: Array, put_back: Any, seed: int) -> np.ndarray:
        method = methods.build(recipe_of(variant), space, 2)
        loss = method.alpha_loss(lambda weights, mixture, *_: (toy.network(0)(put_back(mixture)), {}))

        def estimate(alphas: Array, key: Array) -> Array:
            def objective(alphas: Array) -> Array:
                return loss(None, method.relax({"cell": alphas}, key, scalars, "alphas")[0], {}, key, {})[0]

            return jax.grad(objective)(alphas)

        return np.asarray(toy.draws(estimate, alphas, 4000, seed))

    one = gradients(SPACE, alphas, lambda mixture: mixture, 0)
    other = gradients(exchanged, alphas[:, order], lambda mixture: jax.tree.map(back, mixture), 1)[..., np.argsort(order)]
    errors = np.sqrt((one.var(0) + other.var(0)) / len(one))
    assert (np.abs(one.mean(0) - other.mean(0)) <= 4 * errors + 1e-12).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("hypergradient", TAKES_SECOND_DERIVATIVES)
def test_pairs_of_estimator_and_hypergradient(estimator: str, hypergradient: Any) -> None:
    recipe = SearchRecipe(space="nb201", estimator="enas") if estimator == "enas" else recipe_of(estimator)
    recipe = dataclasses.replace(recipe, hypergradient=hypergradient)
    smooth = estimator in ("softmax", "snas", "pc_darts", "drnas")
    if smooth or hypergradient == "first_order":
        methods.build(recipe, SPACE, 2)
        return
    with pytest.raises(UserError, match=f"hypergradient={hypergradient} does not go with estimator={estimator}"):
        methods.build(recipe, SPACE, 2)


def test_partial_channels_need_a_space_of_cells() -> None:
    with pytest.raises(UserError, match="pc_darts weighs the edges of each node: it needs a space of cells, not 'fbnet'"):
        methods.build(recipe_of("pc_darts"), fbnet(), 2)


def test_temperatures_and_radii_by_epoch() -> None:
    def values(of: Any, recipe: SearchRecipe, name: str, epochs: tuple[int, ...]) -> list[float]:
        return [float(of(recipe, 7)(jnp.asarray(7 * epoch + 6))[name]) for epoch in epochs]

    gdas = SearchRecipe(estimator="gdas", temperature=10.0, temperature_end=0.1, epochs=250)
    expected = [10 - 9.9 * e / 249 for e in (0, 1, 100, 249)]
    np.testing.assert_allclose(values(temperature, gdas, "temperature", (0, 1, 100, 249)), expected, rtol=1e-12)
    # FBNet: 5 exp(-0.045 epoch) over 90 epochs.
    last = 5 * np.exp(-0.045 * 89)
    fbnet_ = SearchRecipe(
        estimator="snas", temperature=5.0, temperature_end=float(last), temperature_decay="exponential", epochs=90
    )
    expected = [5 * np.exp(-0.045 * e) for e in (0, 1, 45, 89)]
    np.testing.assert_allclose(values(temperature, fbnet_, "temperature", (0, 1, 45, 89)), expected, rtol=1e-12)
    sdarts = SearchRecipe(estimator="sdarts_rs", radius=0.03, radius_end=0.3, epochs=50)
    expected = [0.03 + 0.27 * e / 50 for e in (0, 1, 49)]
    np.testing.assert_allclose(values(radius, sdarts, "radius", (0, 1, 49)), expected, rtol=1e-12)
    # A warm-up counts for neither.
    warm = dataclasses.replace(gdas, warmup_epochs=5)
    np.testing.assert_allclose(values(temperature, warm, "temperature", (0, 5, 6)), [10, 10, 10 - 9.9 / 249], rtol=1e-12)
