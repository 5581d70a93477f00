"""Run the command line as `python -m qtriton`."""

from qtriton.cli import main

main()
