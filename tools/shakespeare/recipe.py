"""The constants of the Shakespeare recipe."""

BATCH, STEPS, HIDDEN, CLIP = 50, 64, 128, 5.0
RATE = {"rnn": 2e-3, "lstm": 4e-3, "gru": 4e-3}
FINAL_RATE = 0.05
"""Of the first."""
