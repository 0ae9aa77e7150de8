"""One module for each command of ``rondeau``; each has ``run(argv) -> exit status``."""
