"""`python -m whimbrel`: the operator."""

import sys

from whimbrel.runtime.main import main

if __name__ == "__main__":
    sys.exit(main())
