"""How task losses are balanced: the ``weighting`` parameter."""

from skmtl._core.specs import build_registry
from skmtl.weighting._aligned_mtl import AlignedMTL as AlignedMTL
from skmtl.weighting._base import GradientCombiningModule as GradientCombiningModule
from skmtl.weighting._base import GradientWeighting as GradientWeighting
from skmtl.weighting._base import GradientWeightingModule as GradientWeightingModule
from skmtl.weighting._base import TaskLabels as TaskLabels
from skmtl.weighting._base import Weighting as Weighting
from skmtl.weighting._base import WeightingModule as WeightingModule
from skmtl.weighting._cagrad import CAGrad as CAGrad
from skmtl.weighting._config import ConFIG as ConFIG
from skmtl.weighting._db_mtl import DBMTL as DBMTL
from skmtl.weighting._dual_proj import DualProj as DualProj
from skmtl.weighting._dwa import DWA as DWA
from skmtl.weighting._equal import Equal as Equal
from skmtl.weighting._fairgrad import FairGrad as FairGrad
from skmtl.weighting._famo import FAMO as FAMO
from skmtl.weighting._gls import GLS as GLS
from skmtl.weighting._graddrop import GradDrop as GradDrop
from skmtl.weighting._gradnorm import GradNorm as GradNorm
from skmtl.weighting._gradvac import GradVac as GradVac
from skmtl.weighting._imtl_g import IMTLG as IMTLG
from skmtl.weighting._imtl_l import IMTLL as IMTLL
from skmtl.weighting._log_sum import LogSum as LogSum
from skmtl.weighting._mgda import MGDA as MGDA
from skmtl.weighting._nash_mtl import NashMTL as NashMTL
from skmtl.weighting._pcd import PCD as PCD
from skmtl.weighting._pcgrad import PCGrad as PCGrad
from skmtl.weighting._primary_task import PrimaryTask as PrimaryTask
from skmtl.weighting._rlw import RLW as RLW
from skmtl.weighting._static import Static as Static
from skmtl.weighting._stch import STCH as STCH
from skmtl.weighting._target_kl import TargetKL as TargetKL
from skmtl.weighting._uncertainty import Uncertainty as Uncertainty
from skmtl.weighting._upgrad import UPGrad as UPGrad
from skmtl.weighting._uw_so import UWSO as UWSO

#: Weightings that a string can name.
WEIGHTING = build_registry(Weighting, globals())
