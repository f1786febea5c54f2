"""Measurements of jaxnas against a peer in PyTorch. Not part of the package; what they need is in ``requirements.txt``."""
