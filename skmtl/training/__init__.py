"""Training: batches, augmentation, losses, the skorch net and its callbacks."""

from skmtl.training._augmentation import AUGMENTATION as AUGMENTATION
from skmtl.training._augmentation import Augmentation as Augmentation
from skmtl.training._augmentation import Crop as Crop
from skmtl.training._augmentation import Flip as Flip
from skmtl.training._augmentation import Mixup as Mixup
from skmtl.training._augmentation import Noise as Noise
from skmtl.training._augmentation import check_augmentation as check_augmentation
from skmtl.training._augmentation import resolve_augmentation as resolve_augmentation
from skmtl.training._batches import InputSource as InputSource
from skmtl.training._batches import TrainingRows as TrainingRows
from skmtl.training._batches import pack_targets as pack_targets
from skmtl.training._callbacks import MemberStopping as MemberStopping
from skmtl.training._callbacks import Progress as Progress
from skmtl.training._callbacks import SklearnCallbacks as SklearnCallbacks
from skmtl.training._callbacks import Stopping as Stopping
from skmtl.training._check_state import check_mt19937 as check_mt19937
from skmtl.training._check_state import (
    check_optimizer_state as check_optimizer_state,
)
from skmtl.training._checkpoint import Checkpoints as Checkpoints
from skmtl.training._compile import check_compiles as check_compiles
from skmtl.training._distributed import SINGLE_PROCESS as SINGLE_PROCESS
from skmtl.training._distributed import AccelerateProcesses as AccelerateProcesses
from skmtl.training._distributed import Processes as Processes
from skmtl.training._ensemble_net import MembersNet as MembersNet
from skmtl.training._epoch_choice import EpochChoice as EpochChoice
from skmtl.training._gate_collapse import warn_of_collapse as warn_of_collapse
from skmtl.training._hard_examples import HardExampleSelection as HardExampleSelection
from skmtl.training._lookahead import AT_ONCE as AT_ONCE
from skmtl.training._lookahead import Lookahead as Lookahead
from skmtl.training._losses import PackedLoss as PackedLoss
from skmtl.training._members import Members as Members
from skmtl.training._module import MultiTaskModule as MultiTaskModule
from skmtl.training._net import MultiTaskNet as MultiTaskNet
from skmtl.training._task_stopping import TaskStopping as TaskStopping
from skmtl.training._temperature import MANY_ROWS as MANY_ROWS
from skmtl.training._temperature import apply_temperatures as apply_temperatures
from skmtl.training._temperature import average_networks as average_networks
from skmtl.training._temperature import fit_temperatures as fit_temperatures
from skmtl.training._thread_random import has_foreign_modules as has_foreign_modules
from skmtl.training._thread_random import (
    uses_own_generator_only as uses_own_generator_only,
)
from skmtl.training._torch_state import is_forked as is_forked
from skmtl.training._torch_state import use_default_dtype as use_default_dtype
from skmtl.training._torch_state import use_default_modes as use_default_modes
from skmtl.training._torch_state import use_n_threads as use_n_threads
from skmtl.training._torch_state import use_seed as use_seed
from skmtl.training._validation_scores import ValidationScores as ValidationScores
