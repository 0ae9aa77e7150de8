"""Tasks: what a step of training and an evaluation are, for each kind of model."""
