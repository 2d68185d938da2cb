"""How tasks inform each other beyond sharing: the ``relation`` parameter."""

from skmtl._core.specs import build_registry
from skmtl.relation._base import Relation as Relation
from skmtl.relation._base import RelationModule as RelationModule
from skmtl.relation._base import TaskTable as TaskTable
from skmtl.relation._clustered import Clustered as Clustered
from skmtl.relation._distillation import Distillation as Distillation
from skmtl.relation._graph import TaskGraph as TaskGraph
from skmtl.relation._graph_laplacian import GraphLaplacian as GraphLaplacian
from skmtl.relation._label_graph import LabelGraph as LabelGraph
from skmtl.relation._mean_regularized import MeanRegularized as MeanRegularized
from skmtl.relation._task_covariance import TaskCovariance as TaskCovariance
from skmtl.relation._trace_norm import TraceNorm as TraceNorm

#: Relations that a string can name.
RELATION = build_registry(Relation, globals())
