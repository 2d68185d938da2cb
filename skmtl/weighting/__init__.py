"""How task losses are balanced: the ``weighting`` parameter."""

from skmtl._registry import by_name
from skmtl.weighting._base import GradientCombiningModule as GradientCombiningModule
from skmtl.weighting._base import GradientWeighting as GradientWeighting
from skmtl.weighting._base import GradientWeightingModule as GradientWeightingModule
from skmtl.weighting._base import TaskLabels as TaskLabels
from skmtl.weighting._base import Weighting as Weighting
from skmtl.weighting._base import WeightingModule as WeightingModule
from skmtl.weighting._dwa import DWA as DWA
from skmtl.weighting._equal import Equal as Equal
from skmtl.weighting._famo import FAMO as FAMO
from skmtl.weighting._gls import GLS as GLS
from skmtl.weighting._imtl_l import IMTLL as IMTLL
from skmtl.weighting._log_sum import LogSum as LogSum
from skmtl.weighting._rlw import RLW as RLW
from skmtl.weighting._static import Static as Static
from skmtl.weighting._stch import STCH as STCH
from skmtl.weighting._target_kl import TargetKL as TargetKL
from skmtl.weighting._uncertainty import Uncertainty as Uncertainty
from skmtl.weighting._uw_so import UWSO as UWSO

#: Weightings that a string can name.
WEIGHTING = by_name(Weighting, globals())
