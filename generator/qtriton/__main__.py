"""Run the command line as `python -m qtriton`."""

from qtriton.cli import main

if __name__ == "__main__":  # a process that the command line starts imports this module
    main()
