"""`python -m bramble` is the `bramble` command."""

import sys

from bramble.cli import main

sys.exit(main())
