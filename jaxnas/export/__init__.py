"""Trained networks for elsewhere: weights, a plain Flax file, StableHLO, ONNX."""

from jaxnas.export.formats import FILES as FILES
from jaxnas.export.formats import LIMIT as LIMIT
from jaxnas.export.formats import Export as Export
from jaxnas.export.formats import Format as Format
from jaxnas.export.formats import check_formats as check_formats
from jaxnas.export.formats import export as export
from jaxnas.export.formats import files_of as files_of
from jaxnas.export.formats import genotype_file as genotype_file
from jaxnas.export.trained_network import TrainedNetwork as TrainedNetwork
