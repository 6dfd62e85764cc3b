"""`perceive bench` as a script: inference.py --model random:1.5b --regions 4 --threads 1."""

import sys

from perceive_anything.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
