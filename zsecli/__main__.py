"""`python -m zsecli` is `zse`."""

from zsecli.cli import main

main()
