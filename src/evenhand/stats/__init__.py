"""Statistics of even-handedness: NumPy arrays in, typed results out.

Nothing here knows of models, items' texts or files. Scores are arrays (identities, items) or
(identities, items, samples) in [0, 1] with NaN for a missing score; results are in points of the
0-100 scale. Bad input raises ValueError with one line that says what is wrong;
its subclass TooFewScores is for sound scores that do not suffice. The formulas,
their sources and how they did in simulation are in docs/statistics-reference.md.
"""

from __future__ import annotations

from evenhand.stats.bias import (
    AxisBias,
    PersonalizationBias,
    Spread,
    bootstrap_interval,
    personalization_bias,
)
from evenhand.stats.comparison import (
    AxisChange,
    BiasChange,
    Comparison,
    MeanChange,
    compare_audits,
    compare_axis,
)
from evenhand.stats.components import (
    Components,
    CueComponents,
    MultilevelBias,
    cue_components,
    multilevel_bias,
    variance_components,
)
from evenhand.stats.design import (
    DesignPower,
    LookPlan,
    PlannedBenchmark,
    design_power,
    items_needed,
    look_level,
    pilot_variance,
    plan_looks,
    residual_variance,
    sequential_p_value,
)
from evenhand.stats.effects import (
    CategoryEffects,
    Limit,
    LogitBias,
    category_effects,
    compare_logit,
    identity_changes,
    intersection_interactions,
    limit_of,
    logit_bias,
)
from evenhand.stats.judge import (
    CorrectedBias,
    CorrectedRates,
    JudgeError,
    RaterAgreement,
    VerdictChange,
    between_models,
    cohen_kappa,
    corrected_bias,
    corrected_rates,
    rater_agreement,
    verdict_change,
    weighted_kappa,
)
from evenhand.stats.layout import Population
from evenhand.stats.missing import Missingness, missingness, shares_p_value, weighted_spread
from evenhand.stats.paired import (
    Differences,
    Equivalence,
    ItemMean,
    differences_to_baseline,
    differences_to_mean,
    equivalence_test,
    item_mean,
)
from evenhand.stats.permutation import ALPHA, benjamini_hochberg, is_significant
from evenhand.stats.placebo import PlaceboContrast, placebo_contrast
from evenhand.stats.ppi import LabelCorrection, corrected_by_labels, labels_needed
from evenhand.stats.realizations import (
    NestedRealizations,
    nested_power,
    nested_realizations,
    rotating_realizations,
)
from evenhand.stats.scores import Clusters, ScoreTable, TooFewScores, from_table
from evenhand.stats.standing import (
    IdentityVerdict,
    Ranking,
    Regions,
    TradeOff,
    classify,
    joint_regions,
    rank_identities,
    trade_off,
)
from evenhand.stats.unpaired import UnpairedGroups, unpaired_groups

__all__ = [
    "ALPHA",
    "AxisBias",
    "AxisChange",
    "BiasChange",
    "CategoryEffects",
    "Clusters",
    "Comparison",
    "Components",
    "CorrectedBias",
    "CorrectedRates",
    "CueComponents",
    "DesignPower",
    "Differences",
    "Equivalence",
    "IdentityVerdict",
    "ItemMean",
    "JudgeError",
    "LabelCorrection",
    "Limit",
    "LogitBias",
    "LookPlan",
    "MeanChange",
    "Missingness",
    "MultilevelBias",
    "NestedRealizations",
    "PersonalizationBias",
    "PlaceboContrast",
    "PlannedBenchmark",
    "Population",
    "Ranking",
    "RaterAgreement",
    "Regions",
    "ScoreTable",
    "Spread",
    "TooFewScores",
    "TradeOff",
    "UnpairedGroups",
    "VerdictChange",
    "benjamini_hochberg",
    "between_models",
    "bootstrap_interval",
    "category_effects",
    "classify",
    "cohen_kappa",
    "compare_audits",
    "compare_axis",
    "compare_logit",
    "corrected_bias",
    "corrected_by_labels",
    "corrected_rates",
    "cue_components",
    "design_power",
    "differences_to_baseline",
    "differences_to_mean",
    "equivalence_test",
    "from_table",
    "identity_changes",
    "intersection_interactions",
    "is_significant",
    "item_mean",
    "items_needed",
    "joint_regions",
    "labels_needed",
    "limit_of",
    "logit_bias",
    "look_level",
    "missingness",
    "multilevel_bias",
    "nested_power",
    "nested_realizations",
    "personalization_bias",
    "pilot_variance",
    "placebo_contrast",
    "plan_looks",
    "rank_identities",
    "rater_agreement",
    "residual_variance",
    "rotating_realizations",
    "sequential_p_value",
    "shares_p_value",
    "trade_off",
    "unpaired_groups",
    "variance_components",
    "verdict_change",
    "weighted_kappa",
    "weighted_spread",
]
