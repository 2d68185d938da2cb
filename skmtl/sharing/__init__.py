"""Which parameters tasks share: the ``sharing`` parameter."""

from skmtl._registry import by_name
from skmtl.sharing._additive import Additive as Additive
from skmtl.sharing._base import Sharing as Sharing
from skmtl.sharing._base import SharingModule as SharingModule
from skmtl.sharing._hard import Hard as Hard
from skmtl.sharing._independent import Independent as Independent

#: Sharing strategies that a string can name.
SHARING = by_name(Sharing, globals())
