"""``python -m cumulant``: the same as ``cumulant``."""

import sys

from cumulant.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
