"""Corpora that do not fit in memory: files of text are read in pieces, encoded side by side, and kept as tokens.

`sources` reads the files and cuts them into pieces, `survey` reads all of them once, `pools` are where pieces are
counted and encoded by `work`, `build` does one after the other and goes on where it was by its `notes`, `shards` are
the files that it writes, and `manifest` describes what came out, which `built` reads.
"""
