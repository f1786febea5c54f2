"""From architecture parameters to the mixture that a supernet computes: one file a family of estimators."""

from jaxnas.relaxations.binary_gates import binary_gates, learns, rescaled, sampled_path
from jaxnas.relaxations.dirichlet import dirichlet, divergence
from jaxnas.relaxations.enas import (
    by_accuracy,
    controller_optimizer,
    drawn_paths,
    initial_controller,
    likeliest_path,
    written_paths,
)
from jaxnas.relaxations.gumbel import gumbel_softmax, hard_gumbel, soft_gumbel, straight_through
from jaxnas.relaxations.partial_channels import initial_partial_alphas, partial_channels, with_bypass
from jaxnas.relaxations.perturbation import attack, random_perturbation
from jaxnas.relaxations.reinforce import Baseline, accuracy_over_latency, over_paths, sampled_paths
from jaxnas.relaxations.relaxation import Alphas, Mixture, Phase, Relax, initial_alphas
from jaxnas.relaxations.softmax import softmax
from jaxnas.relaxations.uniform import uniform_path

__all__ = [
    "Alphas",
    "Baseline",
    "Mixture",
    "Phase",
    "Relax",
    "accuracy_over_latency",
    "attack",
    "binary_gates",
    "by_accuracy",
    "controller_optimizer",
    "dirichlet",
    "divergence",
    "drawn_paths",
    "gumbel_softmax",
    "hard_gumbel",
    "initial_alphas",
    "initial_controller",
    "initial_partial_alphas",
    "learns",
    "likeliest_path",
    "over_paths",
    "partial_channels",
    "random_perturbation",
    "rescaled",
    "sampled_path",
    "sampled_paths",
    "soft_gumbel",
    "softmax",
    "straight_through",
    "uniform_path",
    "with_bypass",
    "written_paths",
]
