"""Search steps of the references: first order, DARTS's finite difference, and its exact form by double backward.

Written for speed: optimizers and arithmetic over all weights at once (``foreach``), gradients set to None, no value read back
to the host inside a step, and never a gradient that the step does not use.
"""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cases import Hypergradient, StepValues

Batch = tuple[Tensor, Tensor]


class Search:
    """A supernet with its alphas and optimizers; ``step`` moves both.

    Args:
      model: ``(images, mixture) -> logits``.
      alphas: by the kind of cell; leaves.
      values: of the step.
      compiled: run forward and backward through ``torch.compile``.
      dtype: compute in it by autocast, the weights remain as they are; None for the weights' own.
    """

    def __init__(
        self,
        model: nn.Module,
        alphas: Mapping[str, Tensor],
        values: StepValues,
        compiled: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.alphas, self.values, self.dtype = model, dict(alphas), values, dtype
        self.weights = list(model.parameters())
        self.weight_optimizer = torch.optim.SGD(
            self.weights, values.learning_rate, values.momentum, 0.0, values.weight_decay, values.nesterov, foreach=True
        )
        self.alpha_optimizer = torch.optim.Adam(
            list(self.alphas.values()),
            values.alpha_learning_rate,
            (values.alpha_b1, values.alpha_b2),
            1e-8,
            values.alpha_weight_decay,
            foreach=True,
        )
        self._forward: Callable[..., Tensor] = torch.compile(model) if compiled else model

    def logits(self, images: Tensor) -> Tensor:
        with self._precision(images):
            return self._forward(images, self._mixture())

    def loss(self, batch: Batch) -> Tensor:
        return functional.cross_entropy(self.logits(batch[0]).to(batch[0].dtype), batch[1])

    def _mixture(self) -> dict[str, Tensor]:
        return {kind: alpha.softmax(-1) for kind, alpha in self.alphas.items()}

    def _precision(self, images: Tensor) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None)

    def step(self, train: Batch, valid: Batch) -> dict[str, Tensor]:
        """One iteration; its losses and the norm of the weights' gradient before the clip, still on the device."""
        if self.values.alphas_first:
            valid_loss = self.update_alphas(train, valid)
            return {"valid_loss": valid_loss, **self.update_weights(train)}
        found = self.update_weights(train)
        return {"valid_loss": self.update_alphas(train, valid), **found}

    def update_weights(self, train: Batch) -> dict[str, Tensor]:
        # ``inputs`` keeps the backward pass from the alphas' gradient, which nothing reads.
        loss = self.loss(train)
        loss.backward(inputs=self.weights)
        norm = nn.utils.clip_grad_norm_(self.weights, self.values.clip, foreach=True)
        self.weight_optimizer.step()
        self.weight_optimizer.zero_grad(set_to_none=True)
        return {"train_loss": loss.detach(), "gradient_norm": norm}

    def update_alphas(self, train: Batch, valid: Batch) -> Tensor:
        loss, gradients = self.hypergradient(train, valid)
        for alpha, gradient in zip(self.alphas.values(), gradients, strict=True):
            alpha.grad = gradient
        self.alpha_optimizer.step()
        self.alpha_optimizer.zero_grad(set_to_none=True)
        return loss

    def hypergradient(self, train: Batch, valid: Batch, kind: Hypergradient | None = None) -> tuple[Tensor, Sequence[Tensor]]:
        """The validation loss and its gradient in the alphas, by the step's estimator or another."""
        alphas = list(self.alphas.values())
        kind = kind or self.values.hypergradient
        if kind == "first_order":
            # The references also take the weights' gradient here, and throw it away.
            loss = self.loss(valid)
            return loss.detach(), torch.autograd.grad(loss, alphas)
        return (self._finite_difference if kind == "finite_difference" else self._unrolled)(train, valid)

    def _finite_difference(self, train: Batch, valid: Batch) -> tuple[Tensor, Sequence[Tensor]]:
        alphas, rate = list(self.alphas.values()), self.weight_optimizer.param_groups[0]["lr"]
        with torch.no_grad():
            kept = [weight.clone(memory_format=torch.preserve_format) for weight in self.weights]
        gradients = torch.autograd.grad(self.loss(train), self.weights)
        with torch.no_grad():
            torch._foreach_sub_(self.weights, torch._foreach_mul(self._direction(gradients), rate))
        loss = self.loss(valid)
        found = torch.autograd.grad(loss, [*alphas, *self.weights])
        direct, along = found[: len(alphas)], found[len(alphas) :]
        with torch.no_grad():
            radius = 0.01 / nn.utils.get_total_norm(along, foreach=True)
            offset = torch._foreach_mul(along, radius)
            torch._foreach_copy_(self.weights, torch._foreach_add(kept, offset))
        plus = torch.autograd.grad(self.loss(train), alphas)
        with torch.no_grad():
            torch._foreach_copy_(self.weights, torch._foreach_sub(kept, offset))
        minus = torch.autograd.grad(self.loss(train), alphas)
        with torch.no_grad():
            torch._foreach_copy_(self.weights, kept)
            gradients = [d - rate * (p - m) / (2 * radius) for d, p, m in zip(direct, plus, minus, strict=True)]
        return loss.detach(), gradients

    def _unrolled(self, train: Batch, valid: Batch) -> tuple[Tensor, Sequence[Tensor]]:
        alphas, rate = list(self.alphas.values()), self.weight_optimizer.param_groups[0]["lr"]
        gradients = torch.autograd.grad(self.loss(train), self.weights, create_graph=True)
        with torch.no_grad():
            kept = [weight.clone(memory_format=torch.preserve_format) for weight in self.weights]
            moved = torch._foreach_sub(kept, torch._foreach_mul(self._direction([g.detach() for g in gradients]), rate))
        names = [name for name, _ in self.model.named_parameters()]
        moved = [weight.requires_grad_() for weight in moved]
        with self._precision(valid[0]):
            weights = dict(zip(names, moved, strict=True))
            logits = torch.func.functional_call(self.model, weights, (valid[0], self._mixture()))
        loss = functional.cross_entropy(logits.to(valid[0].dtype), valid[1])
        found = torch.autograd.grad(loss, [*alphas, *moved])
        direct, along = found[: len(alphas)], found[len(alphas) :]
        mixed = torch.autograd.grad(gradients, alphas, grad_outputs=along)
        return loss.detach(), [d - rate * m for d, m in zip(direct, mixed, strict=True)]

    def _direction(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Momentum times buffer, plus gradient, plus decay: what the unrolled step goes along (architect.py)."""
        direction = list(torch._foreach_add(gradients, self.weights, alpha=self.values.weight_decay))
        buffers = [self.weight_optimizer.state[weight].get("momentum_buffer") for weight in self.weights]
        if all(buffer is not None for buffer in buffers):
            torch._foreach_add_(direction, buffers, alpha=self.values.momentum)
        return direction

    def state(self) -> dict[str, Any]:
        """Arrays of the search by the golden files' names."""
        names = [name for name, _ in self.model.named_parameters()]
        arrays: dict[str, Any] = {f"weight/{n}": w for n, w in zip(names, self.weights, strict=True)}
        for name, weight in zip(names, self.weights, strict=True):
            buffer = self.weight_optimizer.state[weight].get("momentum_buffer")
            if buffer is not None:
                arrays[f"momentum/{name}"] = buffer
        for kind, alpha in self.alphas.items():
            arrays[f"alphas_{kind}"] = alpha
            moments = self.alpha_optimizer.state[alpha]
            if moments:
                arrays[f"adam_mean_{kind}"] = moments["exp_avg"]
                arrays[f"adam_second_moment_{kind}"] = moments["exp_avg_sq"]
        return {name: array.detach().clone() for name, array in arrays.items()}
