"""A training spread over shards of each batch, and its shards over processes: the ranks of an MPI job.

A run has a fixed number of *shards*, into which the rows of every batch are cut. Whatever is random is drawn for each
shard by itself, and all that is summed over shards is summed along one binary tree over their numbers. Who computes a
shard is then without effect on the bits: one process, which takes them one after the other, or ranks that have some
each.

`_tree`        the tree, and sums along it
`_shards`      which shards are this rank's, and what they draw
`_gradients`   gradients, summed over all shards in slices
`_statistics`  buffers that a forward changes, such as running statistics
`_ranks`       what a training asks of ranks; a process by itself
`_mpi`         ranks of an MPI job
`_messages`    bytes from rank to rank
`_ending`      how one rank's failure ends all
"""

from rondeau.train.parallel._mpi import MPI
from rondeau.train.parallel._ranks import OneProcess, RankLostError, Ranks

__all__ = ["MPI", "OneProcess", "RankLostError", "Ranks"]
