"""Which parameters tasks share: the ``sharing`` parameter."""

from skmtl._core.specs import build_registry
from skmtl.sharing._adapter import Adapter as Adapter
from skmtl.sharing._adatt import AdaTT as AdaTT
from skmtl.sharing._additive import Additive as Additive
from skmtl.sharing._auto_grouped import AutoGrouped as AutoGrouped
from skmtl.sharing._base import MixtureModule as MixtureModule
from skmtl.sharing._base import Sharing as Sharing
from skmtl.sharing._base import SharingModule as SharingModule
from skmtl.sharing._cgc import CGC as CGC
from skmtl.sharing._chain import Chain as Chain
from skmtl.sharing._cross_stitch import CrossStitch as CrossStitch
from skmtl.sharing._dselect_k import DSelectK as DSelectK
from skmtl.sharing._grouped import Grouped as Grouped
from skmtl.sharing._hard import Hard as Hard
from skmtl.sharing._independent import Independent as Independent
from skmtl.sharing._learned_branching import LearnedBranching as LearnedBranching
from skmtl.sharing._mmoe import MMoE as MMoE
from skmtl.sharing._mtan import MTAN as MTAN
from skmtl.sharing._ple import PLE as PLE
from skmtl.sharing._sluice import Sluice as Sluice
from skmtl.sharing._soft import Soft as Soft
from skmtl.sharing._task_token import TaskToken as TaskToken

#: Sharing strategies that a string can name.
SHARING = build_registry(Sharing, globals())
