"""Records of supernets: losses, gradients of every kind, and whole search iterations."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxnas import hypergradients
from jaxnas.bilevel import Loss, Method, SearchState, initial_state, search_step
from jaxnas.derive import derive
from jaxnas.errors import UserError
from jaxnas.interop.golden_record import Comparison, Record, by_name
from jaxnas.interop.torch_names import from_state_dict, to_state_dict
from jaxnas.losses import mean_cross_entropy
from jaxnas.nets import Network, Shape, supernet
from jaxnas.optimizers import adam, clipped, sgd
from jaxnas.relaxations import Phase, Relax, gumbel_softmax, softmax, straight_through
from jaxnas.spaces import CellSpace, DartsGenotype, Nb201Genotype, darts_family, from_text, nb201_family

DARTS_KINDS = ("normal", "reduce")


def compare_darts(record: Record, precision: str) -> Iterator[Comparison]:
    """A DARTS supernet: one state, then three iterations, alphas first."""
    meta = record.meta
    alphas = {kind: record[f"alphas_{kind}"].astype(precision) for kind in DARTS_KINDS}
    space = darts_family("golden", tuple(meta["ops"]), nodes=_nodes(len(alphas["normal"]), inputs=2))
    network = supernet(space, Shape(meta["C"], meta["layers"], meta["classes"], meta["size"]))
    weights = _weights(record, record.under("weight/"), network, space, precision)
    batches = [
        tuple(record.batch(f"x_{half}_nchw{suffix}", f"y_{half}{suffix}", precision) for half in ("train", "valid"))
        for suffix in ("", *(f"_step{i}" for i in range(2, len(meta["learning_rates"]) + 1)))
    ]
    train, valid = batches[0]
    gradients = compiled_gradients(network, softmax(space))
    loss = loss_with_gradients(gradients)

    (value, aux), (weight_gradient, _) = gradients(weights, alphas, train)
    yield Comparison("logits", "value", "logits_train", aux["logits"], record["logits_train"])
    yield Comparison("losses", "value", "loss_train", value, record["loss_train"])
    yield from by_name("weight gradients", "weight_gradient", record, "grad_weight_train/", weight_gradient, space)
    (value, _), (_, alpha_gradient) = gradients(weights, alphas, valid)
    yield Comparison("losses", "value", "loss_valid", value, record["loss_valid"])
    yield from _by_kind("first-order gradient", "value", record, "first_order/grad_alphas_", alpha_gradient)

    method = _method(record, space, precision)
    state = initial_state(method, jax.random.key(0), weights, alphas)
    state = _with_momentum(state, _weights(record, record.under("momentum/"), network, space, precision))
    arguments = (
        lambda w, a: loss(w, a, train),
        lambda w, a: loss(w, a, valid),
        weights,
        alphas,
        *method.virtual_update(state.weight_state),
    )
    if "unrolled/loss_valid" in record.arrays:
        (value, _), exact = hypergradients.unrolled(has_aux=True)(*arguments)
        yield Comparison("losses", "value", "unrolled/loss_valid", value, record["unrolled/loss_valid"])
        yield from _by_kind("exact unrolled gradient", "unrolled", record, "unrolled_exact/grad_alphas_", exact)
    if record.under("unrolled_finite_difference/"):
        _, approximate = hypergradients.finite_difference(has_aux=True)(*arguments)
        prefix = "unrolled_finite_difference/grad_alphas_"
        yield from _by_kind("finite difference", "finite_difference", record, prefix, approximate)

    kind = "second_order_update" if meta["order"] == "second" else "update"
    step = search_step(method, _engine_loss(loss), _engine_loss(loss))
    before = {f"alphas_{kind_}": record[f"alphas_{kind_}"] for kind_ in DARTS_KINDS}
    ours_before = dict(before)
    for prefix, tree in (("weight/", state.weights), ("momentum/", _momentum(state))):
        before.update({prefix + name: array for name, array in record.under(prefix).items()})
        ours_before.update({prefix + name: array for name, array in to_state_dict(tree, space).items()})
    for i, (train, valid) in enumerate(batches, 1):
        state, metrics = step(state, train, valid)
        prefix = f"after_step{i}/"
        losses = {"loss_train": metrics["train_loss"], "grad_norm_before_clip": metrics["weight_gradient_norm"]}
        for name, ours in losses.items():
            yield Comparison("losses of the steps", "value", prefix + name, ours, record[prefix + name])
        ours_after = _search_arrays(state, space)
        for name, reference in record.under(prefix).items():
            if name in losses:
                continue
            if name not in ours_after:
                raise UserError(f"{record.name}: {prefix}{name} is no array of a search state.")
            quantity = f"updates of {name.split('/')[0].removesuffix('_normal').removesuffix('_reduce')}"
            ours = ours_after[name] - ours_before.get(name, 0.0)
            yield Comparison(quantity, kind, prefix + name, ours, reference - before.get(name, 0.0))
            before[name], ours_before[name] = reference, ours_after[name]
    recorded = _literal_genotype(record)
    found = derive(space, {kind: record[f"alphas_{kind}"] for kind in DARTS_KINDS})
    yield Comparison("genotype", "equal", "genotype", str(found), str(recorded))


def compare_nb201(record: Record, precision: str) -> Iterator[Comparison]:
    """A NAS-Bench-201 supernet: softmax and GDAS's sample at one state, then two iterations of DARTS-V1, weights first."""
    meta = record.meta
    alphas = {"cell": record["alphas"].astype(precision)}
    space = nb201_family("golden", tuple(str(op) for op in record["ops"]), nodes=_nodes(len(alphas["cell"]), inputs=1))
    edges = [f"{target}<-{source}" for source, target in space.cell("cell").edges]
    if [str(edge) for edge in record["edges"]] != edges:
        raise UserError(f"{record.name}: its edges are {[str(edge) for edge in record['edges']]}, ours {edges}.")
    network = supernet(space, Shape(meta["C"], meta["N"], meta["classes"], meta["size"], meta["affine"]))
    weights = _weights(record, record.under("weight/"), network, space, precision)
    gradients = compiled_gradients(network, softmax(space))
    loss = loss_with_gradients(gradients)

    batch = record.batch("x_nchw", "y", precision)
    yield from _at_one_state(record, "mixture/", "", gradients(weights, alphas, batch), space)
    sampled = compiled_gradients(network, _recorded_gdas(record, space, precision))
    yield from _at_one_state(record, "gdas/", "GDAS: ", sampled(weights, alphas, batch), space)

    method = _method(record, space, precision)
    state = initial_state(method, jax.random.key(0), weights, alphas)
    step = search_step(method, _engine_loss(loss), _engine_loss(loss))
    before: dict[str, Any] = {"alphas": record["alphas"], **{f"weight/{n}": a for n, a in record.under("weight/").items()}}
    ours_before: dict[str, Any] = dict(_nb201_arrays(state, space))
    i = 1
    while record.under(f"step{i}/"):
        halves = [record.batch(f"step{i}/x_{half}_nchw", f"step{i}/y_{half}", precision) for half in ("train", "valid")]
        state, metrics = step(state, *halves)
        names = {"loss_train": "train_loss", "loss_valid": "valid_loss", "grad_norm_before_clip": "weight_gradient_norm"}
        for name, metric in names.items():
            key = f"step{i}/{name}"
            yield Comparison("losses of the steps", "value", key, metrics[metric], record[key])
        after = _nb201_arrays(state, space)
        for name, reference in record.under(f"after_step{i}/").items():
            if name not in after:
                raise UserError(f"{record.name}: after_step{i}/{name} is no array of a search state.")
            ours = after[name] - ours_before[name]
            quantity = f"updates of {name.split('/')[0]}"
            yield Comparison(quantity, "update", f"after_step{i}/{name}", ours, reference - before[name])
            before[name], ours_before[name] = reference, after[name]
        i += 1
    recorded = from_text(str(record["genotype"]))
    yield Comparison("genotype", "equal", "genotype", str(derive(space, {"cell": record["alphas"]})), str(recorded))


def _at_one_state(record: Record, prefix: str, label: str, found: Any, space: CellSpace) -> Iterator[Comparison]:
    """Logits, loss and gradients of one relaxation. What GDAS has not sampled has no gradient in the record, 0 in ours."""
    (value, aux), (weight_gradient, alpha_gradient) = found
    yield Comparison(f"{label}logits", "value", f"{prefix}logits", aux["logits"], record[f"{prefix}logits"])
    yield Comparison(f"{label}losses", "value", f"{prefix}loss", value, record[f"{prefix}loss"])
    ours, reference = alpha_gradient["cell"], record[f"{prefix}grad_alphas"]
    yield Comparison(f"{label}first-order gradient", "value", f"{prefix}grad_alphas", ours, reference)
    yield from by_name(f"{label}weight gradients", "weight_gradient", record, f"{prefix}grad_weight/", weight_gradient, space)


def _recorded_gdas(record: Record, space: CellSpace, precision: str) -> Relax:
    """GDAS's relaxation with the record's noise."""
    noise = -jnp.log(jnp.asarray(record["gdas/exponential_noise"], precision))
    present = jnp.array(space.cell("cell").present)

    def relax(alphas: Any, key: Array, scalars: Any, phase: Phase) -> tuple[Any, Any]:
        soft = gumbel_softmax(alphas["cell"], present, noise, jnp.asarray(record["gdas/tau"], precision))
        return {"cell": straight_through(soft, "offset")}, {"cell": soft}

    return relax


def compiled_gradients(network: Network, relax: Relax) -> Any:
    """One compiled ``(weights, alphas, batch) -> (loss, aux), (weight gradient, alpha gradient)``, for every use in a file."""

    def loss(weights: Any, alphas: Any, batch: Any) -> tuple[Array, Any]:
        mixture, _ = relax(alphas, jax.random.key(0), {}, "weights")
        logits, _ = network.forward(weights, mixture, batch["images"], jax.random.key(0), {})
        return mean_cross_entropy(logits, batch["labels"]), {"logits": logits}

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def loss_with_gradients(gradients: Any) -> Any:
    """A loss whose derivatives are those of the compiled function: nothing else is compiled, however it is differentiated."""

    @jax.custom_vjp
    def loss(weights: Any, alphas: Any, batch: Any) -> tuple[Array, Any]:
        return gradients(weights, alphas, batch)[0]

    def forward(weights: Any, alphas: Any, batch: Any) -> Any:
        value, found = gradients(weights, alphas, batch)
        return value, (found, batch)

    def backward(residuals: Any, cotangents: Any) -> Any:
        found, batch = residuals
        scaled = jax.tree.map(lambda g: cotangents[0] * g, found)
        return (*scaled, jax.tree.map(_no_cotangent, batch))

    loss.defvjp(forward, backward)
    return loss


def _no_cotangent(array: Array) -> Any:
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.zeros_like(array) if floating else np.zeros(array.shape, jax.dtypes.float0)


def _engine_loss(loss: Any) -> Loss:
    """The loss in the engine's form. The engine hands it the mixture; here the relaxation is within the compiled loss."""

    def engine(weights: Any, alphas: Any, batch: Any, key: Array, scalars: Any) -> tuple[Array, dict[str, Any]]:
        return loss(weights, alphas, batch)[0], {}

    return engine


def _method(record: Record, space: CellSpace, precision: str) -> Method:
    """The reference's two optimizers with the record's values; the relaxation is in the loss."""
    meta = record.meta
    darts = meta["space"] == "darts"
    rates = jnp.asarray(meta["learning_rates"] if darts else [meta["learning_rate"]] * 2, precision)
    descent = sgd(lambda count: rates[count], meta["momentum"], meta["weight_decay"], meta.get("nesterov", False))
    alpha = meta["alpha_adam"]
    second = meta.get("order", "first") == "second"
    return Method(
        relax=lambda alphas, key, scalars, phase: (alphas, alphas),
        hypergradient=(hypergradients.finite_difference if second else hypergradients.first_order)(has_aux=True),
        weight_optimizer=_jitted(clipped(meta["grad_clip"], descent)),
        alpha_optimizer=_jitted(adam(alpha["lr"], alpha["b1"], alpha["b2"], alpha["weight_decay"])),
        virtual_update=lambda state: (_jitted(descent), state[1]),
        order="alphas_first" if darts else "weights_first",
    )


def _jitted(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.GradientTransformation(optimizer.init, jax.jit(optimizer.update))


def _weights(record: Record, arrays: dict[str, np.ndarray], network: Network, space: CellSpace, precision: str) -> Any:
    like, _ = jax.eval_shape(network.init, jax.random.key(0))
    return from_state_dict(record.cast(arrays, precision), like, space)


def _with_momentum(state: SearchState, momentum: Any) -> SearchState:
    return dataclasses.replace(state, weight_state=optax.tree.set(state.weight_state, trace=momentum))


def _momentum(state: SearchState) -> Any:
    return optax.tree.get(state.weight_state, "trace")


def _search_arrays(state: SearchState, space: CellSpace) -> dict[str, np.ndarray]:
    """A search state by the keys of a DARTS record."""
    arrays = {}
    adam_names = {"alphas": state.alphas, "adam_mean": optax.tree.get(state.alpha_state, "mu")}
    adam_names["adam_second_moment"] = optax.tree.get(state.alpha_state, "nu")
    for name, tree in adam_names.items():
        arrays.update({f"{name}_{kind}": np.asarray(tree[kind], np.float64) for kind in DARTS_KINDS})
    for prefix, tree in (("weight/", state.weights), ("momentum/", _momentum(state))):
        arrays.update({prefix + name: np.asarray(array, np.float64) for name, array in to_state_dict(tree, space).items()})
    return arrays


def _nb201_arrays(state: SearchState, space: CellSpace) -> dict[str, np.ndarray]:
    arrays = {"weight/" + name: np.asarray(array, np.float64) for name, array in to_state_dict(state.weights, space).items()}
    return {"alphas": np.asarray(state.alphas["cell"], np.float64), **arrays}


def _by_kind(quantity: str, kind: str, record: Record, prefix: str, gradient: Any) -> Iterator[Comparison]:
    for cell in DARTS_KINDS:
        yield Comparison(quantity, kind, prefix + cell, gradient[cell], record[prefix + cell])


def _nodes(edges: int, inputs: int) -> int:
    """Nodes of a fully connected cell with so many edges."""
    nodes, count = 0, 0
    while count < edges:
        count += inputs + nodes
        nodes += 1
    if count != edges:
        raise UserError(f"No cell of {inputs} inputs has {edges} edges.")
    return nodes


def _literal_genotype(record: Record) -> DartsGenotype | Nb201Genotype:
    """The reference's genotype, recorded as a dictionary with one concat for both cells."""
    content = ast.literal_eval(str(record["genotype"]))
    concat = tuple(content["concat"])
    normal, reduce = (tuple((str(op), int(source)) for op, source in content[kind]) for kind in DARTS_KINDS)
    return DartsGenotype(normal, concat, reduce, concat)
