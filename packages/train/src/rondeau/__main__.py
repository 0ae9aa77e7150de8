"""``python -m rondeau``: the command line. No ``__init__.py`` stands beside it: the namespace stays open."""

from rondeau.train.cli import main

raise SystemExit(main())
