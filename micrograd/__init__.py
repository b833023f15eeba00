"""micrograd: a scalar reverse-mode autodiff engine, with a small neural network library on top.

>>> from micrograd import Value
>>> x = Value(2.0, label="x")
>>> y = (3 * x).tanh()
>>> y.backward()
"""

import importlib
from typing import TYPE_CHECKING, Any

from micrograd import (
    copying as _copying,  # noqa: F401  (registers Values with copy and pickle)
    engine as _engine,
)
from micrograd.anomaly import detect_anomaly
from micrograd.engine import Value, detach, dot, pow as pow, take, topological_order, where
from micrograd.ops import (
    abs as abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    clip,
    cos,
    cosh,
    elu,
    erf,
    erfc,
    exp,
    expm1,
    gelu,
    hypot,
    leaky_relu,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logsumexp,
    maximum,
    mean,
    minimum,
    prod,
    relu,
    sigmoid,
    silu,
    sin,
    sinh,
    softmax,
    softplus,
    sqrt,
    sum as sum,
    tan,
    tanh,
)

if TYPE_CHECKING:  # these load when first asked for, so that importing micrograd stays quick
    from micrograd.check import gradcheck
    from micrograd.compile.storage import load_program
    from micrograd.compile.training import fit
    from micrograd.functional import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
    from micrograd.nn import MLP, Layer, Module, Neuron
    from micrograd.viz import draw, draw_dot

__version__ = "1.1.0"

_LAZY = {
    "micrograd.check": ("gradcheck",),
    "micrograd.compile.storage": ("load_program",),
    "micrograd.compile.training": ("fit",),
    "micrograd.functional": ("grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"),
    "micrograd.nn": ("MLP", "Layer", "Module", "Neuron"),
    "micrograd.viz": ("draw", "draw_dot"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}
_ROOMS = ("chain", "check", "compile", "functional", "losses", "nn", "optim", "trees", "viz")

__all__ = [  # without abs, pow and sum, so that a star import leaves Python's own alone
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "clip",
    "cos",
    "cosh",
    "detach",
    "detect_anomaly",
    "dot",
    "draw",
    "draw_dot",
    "elu",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "fit",
    "gelu",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "hypot",
    "jacobian",
    "jvp",
    "Layer",
    "leaky_relu",
    "load_program",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logsumexp",
    "maximum",
    "mean",
    "minimum",
    "MLP",
    "Module",
    "Neuron",
    "prod",
    "relu",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sqrt",
    "take",
    "tan",
    "tanh",
    "topological_order",
    "Value",
    "value_and_grad",
    "vjp",
    "where",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"micrograd.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'micrograd' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise ModuleNotFoundError(f"micrograd.{name} needs NumPy: pip install numpy") from None


def _picture(thing: object) -> str | None:
    """How Values and Modules show themselves in a notebook: viz loads with the first picture."""
    return importlib.import_module("micrograd.viz").inline_svg(thing)  # type: ignore[no-any-return]


_engine.picture = _picture


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
