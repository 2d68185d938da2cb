"""Training: batches, augmentation, losses, the skorch net and its callbacks."""

from skmtl.training._augmentation import AUGMENTATION as AUGMENTATION
from skmtl.training._augmentation import Augmentation as Augmentation
from skmtl.training._augmentation import Crop as Crop
from skmtl.training._augmentation import Flip as Flip
from skmtl.training._augmentation import Mixup as Mixup
from skmtl.training._augmentation import Noise as Noise
from skmtl.training._augmentation import check_augmentation as check_augmentation
from skmtl.training._augmentation import resolve_augmentation as resolve_augmentation
from skmtl.training._batches import Rows as Rows
from skmtl.training._batches import Source as Source
from skmtl.training._batches import pack_targets as pack_targets
from skmtl.training._callbacks import Progress as Progress
from skmtl.training._callbacks import SklearnCallbacks as SklearnCallbacks
from skmtl.training._callbacks import Stopping as Stopping
from skmtl.training._collapse import warn_of_collapse as warn_of_collapse
from skmtl.training._losses import REGRESSION_LOSSES as REGRESSION_LOSSES
from skmtl.training._losses import PackedLoss as PackedLoss
from skmtl.training._module import MultiTaskModule as MultiTaskModule
from skmtl.training._net import MultiTaskNet as MultiTaskNet
from skmtl.training._runtime import n_threads as n_threads
from skmtl.training._runtime import seeded as seeded
from skmtl.training._selection import Selection as Selection
