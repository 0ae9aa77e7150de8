"""The operators, by family; each op's forward beside its vector-Jacobian products."""
