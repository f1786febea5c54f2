"""``python -m jaxnas``: the command line."""

from jaxnas.cli import main

main()
