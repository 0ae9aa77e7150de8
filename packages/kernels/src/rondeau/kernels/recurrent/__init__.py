"""A cell over a batch of sequences, for every target: records, layout of rows, checks, the reference, and the targets.

Nothing here computes for a particular machine; `target` chooses what does.
"""
