"""The tables, one a file: ``add_arguments`` says what can be chosen, ``run`` measures, prints and returns the rows."""
