"""Run the command line: `python -m headcount.cli`."""

from headcount.cli.app import main

if __name__ == "__main__":
    main()
