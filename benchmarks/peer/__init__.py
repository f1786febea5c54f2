"""The search steps of DARTS and NAS-Bench-201 in PyTorch: what jaxnas is measured against.

``modules`` holds the parameters, under the references' names, and the plain forward pass: a module for every operation, a
Python loop over edges, a weighted sum. ``shared`` is a faster forward pass over the same parameters. ``steps`` are the
search steps, ``verify`` compares all of it with the golden files and ``forms`` times the forms against each other.
"""
