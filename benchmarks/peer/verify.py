"""The peer's conformance: its supernets and steps against the numeric records that jaxnas is held to.

    python -m benchmarks.peer.verify GOLDEN.npz ... --json FILE

Every form in every layout is compared, in float64 and in float32, by the error and the limits of
:mod:`jaxnas.interop.golden`, and once more in float32 with the signs of ReLUs as in float64 (see ``kinks``). That last
comparison tells why a form fails; it passes only by the first two, and only what passes is measured
(``benchmarks.search_step``). Records of derived networks are not the peer's concern.
"""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.cases import Hypergradient, StepValues
from benchmarks.peer import kinks
from benchmarks.peer.modules import Size
from benchmarks.peer.side import FORMS, LAYOUTS
from benchmarks.peer.steps import Batch, Search
from benchmarks.search_step import run_facts
from jaxnas.errors import UserError
from jaxnas.interop import golden
from jaxnas.interop.golden_record import Comparison, Record

KINDS = ("normal", "reduce")
NOT_OURS = ("genotype", "gdas/")
"""Begins of the keys of what the peer does not do: deriving, GDAS."""


def compare(form: str, layout: torch.memory_format) -> Callable[[Record, str], Iterator[Comparison]]:
    """What :mod:`jaxnas.interop.golden` is to compare, computed by a form of the peer in a layout."""

    def comparisons(record: Record, precision: str) -> Iterator[Comparison]:
        for key in [key for key in record.arrays if key.startswith(NOT_OURS)]:
            del record.arrays[key]
        if "genotype" in record.meta:
            raise UserError(f"{record.name} is the record of a derived network; name those of supernets.")
        dtype = getattr(torch, precision)
        yield from (_darts if record.meta["space"] == "darts" else _nb201)(record, form, layout, dtype)

    return comparisons


def _search(
    record: Record,
    form: str,
    layout: torch.memory_format,
    dtype: torch.dtype,
    alphas: Mapping[str, str],
    values: StepValues,
) -> Search:
    """A search at the record's state."""
    meta = record.meta
    cells = meta["layers"] if meta["space"] == "darts" else meta["N"]
    model = FORMS[form, meta["space"]](Size(meta["C"], cells, meta["classes"], meta.get("affine", False)))
    model = model.to(dtype=dtype, memory_format=layout)  # pyright: ignore[reportCallIssue]
    model.load_state_dict({name: torch.from_numpy(array) for name, array in record.under("weight/").items()})
    # Copies: the step changes them in place, and the record is compared with afterwards.
    leaves = {kind: torch.tensor(record[key], dtype=dtype, requires_grad=True) for kind, key in alphas.items()}
    search = Search(model, leaves, values)
    momentum = record.under("momentum/")
    for name, weight in model.named_parameters():
        if name in momentum:
            search.weight_optimizer.state[weight]["momentum_buffer"] = torch.tensor(momentum[name], dtype=dtype)
    return search


def _values(record: Record, alphas_first: bool) -> StepValues:
    meta, adam = record.meta, record.meta["alpha_adam"]
    return StepValues(
        "finite_difference" if meta.get("order") == "second" else "first_order",
        alphas_first,
        momentum=meta["momentum"],
        nesterov=meta.get("nesterov", False),
        weight_decay=meta["weight_decay"],
        clip=meta["grad_clip"],
        alpha_learning_rate=adam["lr"],
        alpha_b1=adam["b1"],
        alpha_b2=adam["b2"],
        alpha_weight_decay=adam["weight_decay"],
    )


def _batch(record: Record, images: str, labels: str, layout: torch.memory_format, dtype: torch.dtype) -> Batch:
    return torch.from_numpy(record[images]).to(dtype, memory_format=layout), torch.from_numpy(record[labels])


def _rate(search: Search, rate: float) -> None:
    search.weight_optimizer.param_groups[0]["lr"] = rate


def _gradients(search: Search, batch: Batch) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits, and the gradients in the weights and in the alphas, by name."""
    logits = search.logits(batch[0])
    names, kinds = [name for name, _ in search.model.named_parameters()], list(search.alphas)
    found = torch.autograd.grad(search.loss(batch), [*search.weights, *search.alphas.values()])
    weights, alphas = found[: len(names)], found[len(names) :]
    return logits.detach(), dict(zip(names, weights, strict=True)), dict(zip(kinds, alphas, strict=True))


def _by_name(quantity: str, record: Record, prefix: str, found: Mapping[str, Tensor]) -> Iterator[Comparison]:
    for name, reference in record.under(prefix).items():
        yield Comparison(quantity, "weight_gradient", prefix + name, found[name], reference)


def _updates(
    record: Record, prefix: str, kind: str, before: dict[str, Any], ours_before: dict[str, Any], after: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """What a step changed, key by key; both states of the past move along."""
    for name, reference in record.under(prefix).items():
        if name not in after:
            continue
        ours = after[name].double().numpy()
        quantity = f"updates of {name.split('/')[0].removesuffix('_normal').removesuffix('_reduce')}"
        yield Comparison(quantity, kind, prefix + name, ours - ours_before.get(name, 0.0), reference - before.get(name, 0.0))
        before[name], ours_before[name] = reference, ours


def _darts(record: Record, form: str, layout: torch.memory_format, dtype: torch.dtype) -> Iterator[Comparison]:
    meta = record.meta
    alphas = {kind: f"alphas_{kind}" for kind in KINDS}
    search = _search(record, form, layout, dtype, alphas, _values(record, alphas_first=True))
    _rate(search, meta["learning_rates"][0])
    batches = [
        [_batch(record, f"x_{half}_nchw{suffix}", f"y_{half}{suffix}", layout, dtype) for half in ("train", "valid")]
        for suffix in ("", *(f"_step{i}" for i in range(2, len(meta["learning_rates"]) + 1)))
    ]
    train, valid = batches[0]
    logits, weights, _ = _gradients(search, train)
    yield Comparison("logits", "value", "logits_train", logits, record["logits_train"])
    yield Comparison("losses", "value", "loss_train", search.loss(train).detach(), record["loss_train"])
    yield from _by_name("weight gradients", record, "grad_weight_train/", weights)
    estimators: tuple[tuple[Hypergradient, str, str, str], ...] = (
        ("first_order", "first_order", "first-order gradient", "value"),
        ("unrolled", "unrolled_exact", "exact unrolled gradient", "unrolled"),
        ("finite_difference", "unrolled_finite_difference", "finite difference", "finite_difference"),
    )
    for estimator, prefix, quantity, limit in estimators:
        if not record.under(f"{prefix}/"):
            continue
        loss, found = search.hypergradient(train, valid, estimator)
        key = {"first_order": "loss_valid", "unrolled": "unrolled/loss_valid"}.get(estimator)
        if key is not None:
            yield Comparison("losses", "value", key, loss, record[key])
        for kind, gradient in zip(KINDS, found, strict=True):
            key = f"{prefix}/grad_alphas_{kind}"
            yield Comparison(quantity, limit, key, gradient, record[key])

    ours_before: dict[str, Any] = {name: array.double().numpy() for name, array in search.state().items()}
    before = {name: array for name, array in record.arrays.items() if name in ours_before}
    update = "second_order_update" if meta["order"] == "second" else "update"
    for i, ((train, valid), rate) in enumerate(zip(batches, meta["learning_rates"], strict=True), 1):
        _rate(search, rate)
        metrics, prefix = search.step(train, valid), f"after_step{i}/"
        for name, metric in (("loss_train", "train_loss"), ("grad_norm_before_clip", "gradient_norm")):
            yield Comparison("losses of the steps", "value", prefix + name, metrics[metric], record[prefix + name])
        yield from _updates(record, prefix, update, before, ours_before, search.state())


def _nb201(record: Record, form: str, layout: torch.memory_format, dtype: torch.dtype) -> Iterator[Comparison]:
    search = _search(record, form, layout, dtype, {"cell": "alphas"}, _values(record, alphas_first=False))
    _rate(search, record.meta["learning_rate"])
    batch = _batch(record, "x_nchw", "y", layout, dtype)
    logits, weights, alphas = _gradients(search, batch)
    yield Comparison("logits", "value", "mixture/logits", logits, record["mixture/logits"])
    yield Comparison("losses", "value", "mixture/loss", search.loss(batch).detach(), record["mixture/loss"])
    yield Comparison("first-order gradient", "value", "mixture/grad_alphas", alphas["cell"], record["mixture/grad_alphas"])
    yield from _by_name("weight gradients", record, "mixture/grad_weight/", weights)

    def state() -> dict[str, Tensor]:
        return {"alphas" if name == "alphas_cell" else name: array for name, array in search.state().items()}

    ours_before: dict[str, Any] = {name: array.double().numpy() for name, array in state().items()}
    before = {name: array for name, array in record.arrays.items() if name in ours_before}
    i = 1
    while record.under(f"step{i}/"):
        halves = [_batch(record, f"step{i}/x_{half}_nchw", f"step{i}/y_{half}", layout, dtype) for half in ("train", "valid")]
        metrics = search.step(halves[0], halves[1])
        names = {"loss_train": "train_loss", "loss_valid": "valid_loss", "grad_norm_before_clip": "gradient_norm"}
        for name, metric in names.items():
            yield Comparison("losses of the steps", "value", f"step{i}/{name}", metrics[metric], record[f"step{i}/{name}"])
        yield from _updates(record, f"after_step{i}/", "update", before, ours_before, state())
        i += 1


def _summary(what: str, lines: Sequence[golden.Line], left: Sequence[str]) -> dict[str, Any]:
    """Of one comparison, printed; what failed, each with its error."""
    failed = [line for line in lines if not line.passed]
    nearest = max(lines, key=lambda line: line.error / line.limit)
    passed = not failed and not left
    print(
        f"  {'pass' if passed else 'FAIL'}  {what}: {len(lines)} quantities, {len(failed)} failed, {len(left)} keys left out; "
        f"nearest to its limit: {nearest.quantity} ({nearest.worst}) {nearest.error:.1e} of {nearest.limit:.0e}"
    )
    for line in failed:
        print(f"        {line.quantity}: worst {line.worst} {line.error:.1e} (limit {line.limit:.0e})")
    return {
        "passed": passed,
        "quantities": len(lines),
        "failed": {line.quantity: line.error for line in failed},
        "largest_error_over_limit": nearest.error / nearest.limit,
    }


def verify(form: str, layout: str, path: Path) -> dict[str, Any]:
    """One form in one layout against one file."""
    print(f"{path.name}, {form}, {layout}:")
    with mock.patch.object(golden, "comparisons", compare(form, LAYOUTS[layout])):
        with kinks.recorded() as signs:
            float64 = _summary("float64", *golden.verify(path, "float64"))
        with kinks.recorded() as own:
            float32 = _summary("float32", *golden.verify(path, "float32"))
        changed, of = kinks.changed(own, signs)
        print(f"        {changed} of {of} signs of ReLUs differ from those in float64")
        with kinks.replayed(signs):
            forced = _summary("float32, signs as in float64", *golden.verify(path, "float32"))
    return {
        "family": golden.read(path).meta["space"],
        "form": form,
        "layout": layout,
        "file": path.name,
        "passed": float64["passed"] and float32["passed"],
        "float64": float64,
        "float32": float32 | {"signs_changed": changed, "signs": of},
        "float32_signs_as_in_float64": forced,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the peer with golden files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="GOLDEN")
    parser.add_argument("--json", type=Path, help="write the record to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # The networks are tiny: more threads would only wait for each other.
    forms = sorted({form for form, _ in FORMS})
    found = [verify(form, layout, path) for path, form, layout in itertools.product(arguments.files, forms, LAYOUTS)]
    passed = sum(one["passed"] for one in found)
    print(f"{passed} of {len(found)} passed: forms, layouts and files")
    if arguments.json is not None:
        record = {**run_facts(), "device": "cpu", "torch": torch.__version__, "comparisons": found}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if passed == len(found) else 1)


if __name__ == "__main__":
    main()
