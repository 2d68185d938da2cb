"""How tasks inform each other beyond sharing: the ``relation`` parameter."""

from skmtl._registry import by_name
from skmtl.relation._base import Relation as Relation
from skmtl.relation._base import RelationModule as RelationModule
from skmtl.relation._base import TaskTable as TaskTable
from skmtl.relation._graph import TaskGraph as TaskGraph
from skmtl.relation._label_graph import LabelGraph as LabelGraph

#: Relations that a string can name.
RELATION = by_name(Relation, globals())
