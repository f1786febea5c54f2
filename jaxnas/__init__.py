"""jaxnas: differentiable neural architecture search in JAX.

Import from the rooms: ``jaxnas.spaces`` (what can be searched), ``jaxnas.nets`` (supernets and derived networks),
``jaxnas.relaxations``, ``jaxnas.hypergradients``, ``jaxnas.optimizers``, ``jaxnas.bilevel`` (the step), ``jaxnas.derive``,
``jaxnas.training``, ``jaxnas.data``, ``jaxnas.interop`` (weights and records of the reference implementations).
"""
