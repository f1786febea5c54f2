"""The peer's two forms are one function; where PyTorch is installed, which the package's environment does without."""

# PyTorch is in the benchmarks' environment only: elsewhere a type checker knows nothing of it.
# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make bench has it")

from benchmarks.cases import Hypergradient, step_values  # noqa: E402
from benchmarks.peer import kinks, modules, shared  # noqa: E402
from benchmarks.peer.modules import Size  # noqa: E402
from benchmarks.peer.side import ALPHAS, FORMS, LAYOUTS  # noqa: E402
from benchmarks.peer.steps import Search  # noqa: E402
from benchmarks.peer.verify import verify  # noqa: E402

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


def test_signs_are_those_that_were_seen() -> None:
    x = torch.tensor([-1.0, 2.0, 0.0], requires_grad=True)
    with kinks.recorded() as signs:
        torch.relu(x)
        torch.nn.ReLU()(-x)
    assert [sign.tolist() for sign in signs] == [[False, True, False], [True, False, False]]
    with kinks.replayed(signs[1:]):
        y = torch.relu(x)
    assert y.tolist() == [-1.0, 0.0, 0.0]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [1.0, 0.0, 0.0]
    assert kinks.changed(signs[:1], signs[1:]) == (2, 3)


def test_fewer_relus_than_signs() -> None:
    with pytest.raises(RuntimeError, match="Fewer ReLUs"), kinks.replayed([torch.tensor([True])]):
        pass


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["plain", "shared"])
@pytest.mark.parametrize(
    "name",
    [
        "nb201_supernet_a",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("nb201_supernet_b", "darts_supernet_a", "darts_supernet_b")),
    ],
)
def test_golden(name: str, form: str, layout: str, golden_dir: Path) -> None:
    """Float32 as it is depends on the rounding of a machine (``kinks``) and is the record's matter."""
    found = verify(form, layout, golden_dir / f"{name}.npz")
    assert found["float64"]["passed"]
    assert found["float32_signs_as_in_float64"]["passed"]
