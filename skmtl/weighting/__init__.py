"""How task losses are balanced: the ``weighting`` parameter."""

from skmtl._registry import by_name
from skmtl.weighting._base import GradientCombiningModule as GradientCombiningModule
from skmtl.weighting._base import GradientWeighting as GradientWeighting
from skmtl.weighting._base import GradientWeightingModule as GradientWeightingModule
from skmtl.weighting._base import TaskLabels as TaskLabels
from skmtl.weighting._base import Weighting as Weighting
from skmtl.weighting._base import WeightingModule as WeightingModule
from skmtl.weighting._equal import Equal as Equal
from skmtl.weighting._target_kl import TargetKL as TargetKL

#: Weightings that a string can name.
WEIGHTING = by_name(Weighting, globals())
