"""Running a cell over a batch of sequences, on any target: records, layout, checks, the reference, and the targets.

Nothing here computes on a particular machine; `target` chooses the module that does.
"""
