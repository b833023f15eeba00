"""The chain rule made visible: paths, layer gradients, Jacobian products and formulas of any recorded graph.

Each function computes one statement of backpropagation on a graph that someone recorded, beside the engine's numbers:
that a derivative is a sum over paths, that a layer passes gradients down through its transposed weights, that vector
functions compose by multiplying Jacobians.  Nothing here reads or writes a ``grad``.
"""

from micrograd.chain.formula import derivative_text
from micrograd.chain.jacobian import Jacobian, chain, jacobian_of
from micrograd.chain.layers import LayerGradients, layer_gradients
from micrograd.chain.neuron import LossGradient, NeuronGradient, loss_gradient, neuron_gradient
from micrograd.chain.paths import Edge, Path, Paths, paths

__all__ = [
    "chain",
    "derivative_text",
    "Edge",
    "Jacobian",
    "jacobian_of",
    "layer_gradients",
    "LayerGradients",
    "loss_gradient",
    "LossGradient",
    "neuron_gradient",
    "NeuronGradient",
    "Path",
    "Paths",
    "paths",
]
