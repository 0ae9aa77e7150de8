"""The operators, by family; each operator's forward is next to its vector-Jacobian products."""
