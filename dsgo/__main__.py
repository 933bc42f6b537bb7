"""`python -m dsgo`."""

import sys

from dsgo.cli import main

sys.exit(main())
