"""``python -m rondeau.train``: the command line."""

from rondeau.train.cli import main

raise SystemExit(main())
