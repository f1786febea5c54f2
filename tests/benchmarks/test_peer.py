"""The peer's two forms are one function; where PyTorch is installed, which the package's environment does without."""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make bench has it")

from benchmarks.cases import Hypergradient, step_values  # noqa: E402
from benchmarks.peer import modules, shared  # noqa: E402
from benchmarks.peer.modules import Size  # noqa: E402
from benchmarks.peer.side import ALPHAS, FORMS  # noqa: E402
from benchmarks.peer.steps import Search  # noqa: E402

SIZES = {"darts": Size(4, 3), "nb201": Size(4, 1), "nb201 affine": Size(4, 1, affine=True)}


@pytest.mark.parametrize("name", SIZES)
def test_forms_agree(name: str) -> None:
    family = name.split()[0]
    torch.manual_seed(0)
    plain, fast = (FORMS[form, family](SIZES[name]).double() for form in ("plain", "shared"))
    fast.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 8, 8, dtype=torch.double)
    mixture = {kind: torch.rand(shape, dtype=torch.double).requires_grad_() for kind, shape in ALPHAS[family].items()}
    found = []
    for model in (plain, fast):
        logits = model(images, mixture)
        leaves = [*model.parameters(), *mixture.values()]
        found.append([logits, *torch.autograd.grad(logits.square().sum(), leaves)])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_parameters_of_the_paper() -> None:
    model = modules.DartsSupernet(Size(16, 8))
    assert sum(weight.numel() for weight in model.parameters()) == 1_930_618


@pytest.mark.parametrize("estimator", ["first_order", "finite_difference", "unrolled"])
def test_a_hypergradient_leaves_the_weights(estimator: Hypergradient) -> None:
    torch.manual_seed(0)
    model = shared.Nb201Supernet(Size(4, 1)).double()
    search = Search(model, {"cell": torch.zeros(6, 5, dtype=torch.double, requires_grad=True)}, step_values("nb201", estimator))
    before = [weight.detach().clone() for weight in search.weights]
    halves = [(torch.randn(2, 3, 8, 8, dtype=torch.double), torch.tensor([0, 1])) for _ in range(2)]
    search.hypergradient(halves[0], halves[1])
    for old, weight in zip(before, search.weights, strict=True):
        torch.testing.assert_close(weight.detach(), old, rtol=0, atol=0)
        assert weight.grad is None
