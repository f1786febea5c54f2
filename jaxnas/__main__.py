from jaxnas.cli import main

main()
