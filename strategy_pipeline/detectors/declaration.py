"""What a detector is: a frozen declaration of inputs, gate and weighted factors, with a version made from its content.

How a declaration is applied to rows is in evaluate.py; which declarations exist is in catalogue.py.
"""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from strategy_pipeline.detectors.comparison import COMPARED_DECIMALS
from strategy_pipeline.detectors.inputs import INPUT_DTYPES
from strategy_pipeline.market.symbols import ASSET_CLASSES

# Every gate reads the first; every percentage reads the other two.
ALWAYS_REQUIRED = ("is_regular_hours", "close", "prev_close")
DIRECTIONS = ("LONG", "SHORT")
DIRECTION_DTYPE = pl.Enum(DIRECTIONS)
PER_ROW = "PER_ROW"
WEIGHT_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Factor:
    """One part of the base score: `expression` is clamped to 0-100 and counts `weight` of the whole."""

    name: str
    weight: float
    expression: pl.Expr


@dataclass(frozen=True)
class Detector:
    """A setup as data: when it fires and how strong it is (detectors.md section 1.1).

    `timeframe` is the catalogue's cadence; the declaration applies to rows of any timeframe. `inputs_required` holds
    what the catalogue lists beyond ALWAYS_REQUIRED. `thresholds` are the numbers of the gate, kept for reports and
    parameter searches. Raises ValueError when weights do not sum to 1, an input is not a feature column, or an
    expression reads a column that is not declared.
    """

    name: str
    family: str
    direction: str
    asset_classes: frozenset[str]
    timeframe: str
    category: str
    momentum: bool
    inputs_required: tuple[str, ...]
    inputs_optional: tuple[str, ...]
    gate: pl.Expr = field(compare=False)
    factors: tuple[Factor, ...] = field(compare=False)
    thresholds: tuple[tuple[str, float], ...] = ()
    direction_expression: pl.Expr | None = field(default=None, compare=False)
    version: str = "1"

    def __post_init__(self) -> None:
        """Reject a declaration that could not be trusted: see the class."""
        total = sum(factor.weight for factor in self.factors)
        if abs(total - 1.0) > WEIGHT_TOLERANCE:
            raise ValueError(f"{self.name}: factor weights sum to {total!r}, not 1")
        if not self.asset_classes <= set(ASSET_CLASSES):
            raise ValueError(f"{self.name}: unknown asset classes {sorted(self.asset_classes - set(ASSET_CLASSES))}")
        if self.direction not in (*DIRECTIONS, PER_ROW):
            raise ValueError(f"{self.name}: direction {self.direction!r} is none of {(*DIRECTIONS, PER_ROW)}")
        if (self.direction == PER_ROW) != (self.direction_expression is not None):
            raise ValueError(f"{self.name}: a direction expression belongs to PER_ROW detectors, and only to them")
        declared = self.inputs
        if len(set(declared)) != len(declared):
            raise ValueError(f"{self.name}: an input is declared twice in {declared}")
        if unknown := [column for column in declared if column not in INPUT_DTYPES]:
            raise ValueError(f"{self.name}: {unknown} are not columns of the feature schema")
        read = set().union(*(expression.meta.root_names() for expression in self._expressions))
        if undeclared := sorted(read - set(declared)):
            raise ValueError(f"{self.name}: reads {undeclared} without declaring them as inputs")
        if unread := sorted(set(self.inputs_optional) - read):
            raise ValueError(f"{self.name}: declares the optional inputs {unread} but never reads them")

    @property
    def all_required(self) -> tuple[str, ...]:
        """Columns that must be known for the detector to fire."""
        return (*ALWAYS_REQUIRED, *self.inputs_required)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All declared columns, required ones first."""
        return (*self.all_required, *self.inputs_optional)

    @property
    def _expressions(self) -> tuple[pl.Expr, ...]:
        direction = () if self.direction_expression is None else (self.direction_expression,)
        return (self.gate, *(factor.expression for factor in self.factors), *direction)

    @cached_property
    def definition_version(self) -> str:
        """`version` and 12 hex digits of a hash over everything that decides a result, e.g. ``1-3f2a...``.

        A new Polars may print the same expression differently and so change the version: a recomputation too many,
        never one too few.
        """
        content = {
            "name": self.name,
            "direction": self.direction,
            "asset_classes": sorted(self.asset_classes),
            "required": self.all_required,
            "optional": self.inputs_optional,
            "thresholds": self.thresholds,
            "compared_decimals": COMPARED_DECIMALS,
            "weights": [(factor.name, factor.weight) for factor in self.factors],
            "expressions": [expression.meta.serialize(format="json") for expression in self._expressions],
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.version}-{digest[:12]}"

    def clamped_factors(self) -> list[pl.Expr]:
        """The factor values in [0, 100], each under its name."""
        return [factor.expression.clip(0.0, 100.0).cast(pl.Float64).alias(factor.name) for factor in self.factors]

    def base_score(self) -> pl.Expr:
        """Sum of weight x clamped factor from the columns `clamped_factors` made, in declared order.

        The final clamp takes away what 100 x (a sum of weights that exceeds 1 by one ulp) would add.
        """
        total = pl.lit(0.0)
        for factor in self.factors:
            total = total + factor.weight * pl.col(factor.name)
        return total.clip(0.0, 100.0)

    def fired(self) -> pl.Expr:
        """Whether the gate is true, every required input is known, and the asset class is one of the detector's."""
        known = pl.all_horizontal([pl.col(column).is_not_null() for column in self.all_required])
        eligible = pl.col("asset_class").is_in(sorted(self.asset_classes))
        gate = pl.col("is_regular_hours") & self.gate
        return (eligible & known & gate).fill_null(value=False)
