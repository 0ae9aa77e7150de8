"""Features: the work of a thread of a persistent kernel for a projected first state.

The blocks of a group divide the P features of the projected state among themselves, as they do the units: a thread
whose place in its block is below the block's number of features serves one of them, of the same batch row. In forward
it stores what the product with the projection's matrix has given, and once more as the recurrent matrices see it, with
the mask of recurrent dropout: ``carried``, which has the rows of one step alone, since all blocks have read them when
the first has the next ones. In backward it keeps the adjoint of its feature.
"""

from __future__ import annotations

from rondeau.kernels.cuda.persistent.contraction import NEXT_STEP, THIS_STEP
from rondeau.kernels.cuda.persistent.items import ItemSource
from rondeau.kernels.cuda.persistent.plan import features_of_block

__all__ = ["FeatureSource"]


class FeatureSource(ItemSource):
    """Builds the lines of a feature. Without a projection there are none."""

    @property
    def _has_incoming(self) -> bool:
        return self.graph.states[0] in self.incoming

    def _at(self, array: str, row: str) -> str:
        """Return the feature's element of an array with P elements a row."""
        return f"{self._array(array)}[({row}) * U({self.sizes.projected}) + feature]"

    def _keep(self) -> str:
        """Return the variable of the feature's mask, which is the same for all steps."""
        self.held["keep_feature"] = self._at("keep_features", "batch_row")
        return "keep_feature"

    def _feature_places(self) -> list[str]:
        """Return the lines that find a thread's feature; one without has another's place, and writes nothing."""
        P, own, rows = self.sizes.projected, features_of_block(self.sizes, self.tile), self.tile.rows
        lines = [
            f"own_feature = tile_unit if tile_unit < U({own}) else U(0)",
            f"feature = tile * U({own}) + own_feature",
            f"has_feature = tile_row < U({rows}) and first_row + tile_row < B",
            f"has_feature = has_feature and tile_unit < U({own}) and feature < U({P})",
            f"feature = feature if feature < U({P}) else U({P - 1})",
        ]
        return lines if P else []

    def _begin_features(self) -> list[str]:
        """Return the lines before the first step."""
        if self.projection is None:
            return []
        if not self.is_forward:
            return [
                "feature_adjoint = float32(0)",
                "incoming = float32(0)",
                "if has_feature:",
                f"    feature_adjoint = {self._at('d_hidden', 'row')}",
            ]
        return self._put_initial("has_feature", "feature", self._at("carried", "row"))

    def _fetch_features(self) -> list[str]:
        """Return the lines that fetch a feature's numbers of the next step."""
        if self.projection is None or self.is_forward or not self._has_incoming:
            return []
        every = self._at(f"every_{self.graph.states[0]}", "next_at + row")
        return ["if has_feature and row < next_size:", f"    incoming = {every}"]

    def _store_features(self) -> list[str]:
        """Return the lines of forward after the product with the projection's matrix."""
        assert self.projection is not None
        lines = [f"projected = {self.projection.result('own_feature')}"]
        stores = [f"{self._at('first', 'new + row')} = projected"]
        if self.of_first is not None:
            carried = f"projected * {self._keep()}"
            put = self.of_first.put("feature", carried, NEXT_STEP)
            stores += put or [f"{self._at('carried', 'row')} = {carried}"]
        return [*lines, "if has_feature and row < size:", *(f"    {line}" for line in stores)]

    def _store_adjoints(self) -> list[str]:
        """Return the lines of backward before that product: a step's adjoints of the features are complete."""
        assert self.projection is not None
        lines = ["feature_adjoint = feature_adjoint + incoming"] if self._has_incoming else []
        lines.append(f"{self._at('d_projected', 'at + row')} = feature_adjoint")
        lines += self.projection.put("feature", "feature_adjoint", THIS_STEP)
        if self.of_first is None:
            lines.append("feature_adjoint = float32(0)")
        return ["if has_feature and row < size:", *(f"    {line}" for line in lines)]

    def _keep_adjoint(self, result: str) -> list[str]:
        """Return the line of backward after the recurrent product, given its result."""
        adjoint = f"({result}) * {self._keep()}"
        return [f"feature_adjoint = {adjoint} if has_feature and row < size else feature_adjoint"]

    def _end_features(self) -> list[str]:
        """Return the lines after the last step of backward."""
        if self.projection is None:
            return []
        return ["if has_feature:", f"    {self._at('d_hidden', 'row')} = feature_adjoint"]
