"""The command line: ``python -m micrograd`` trains a classifier, ``python -m micrograd draw`` draws an expression."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import micrograd
from micrograd.data import IRIS, DataError, read_csv
from micrograd.expression import CONSTANTS, FUNCTIONS, ExpressionError, evaluate, parse_variables
from micrograd.nn import USUAL_ACTIVATIONS, read_json, write_json
from micrograd.training import FORMAT, Settings, Training, TrainingError
from micrograd.viz import draw
from micrograd.viz.chart import line_chart

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
WRONG = 2  # argparse's exit code for a wrong command line, ours for wrong files too

TRAIN = """\
Train a classifier on a CSV file and write loss.svg, graph.svg and weights.json.

The first line of the file names the columns; one column holds the classes, all others hold numbers.  A seeded share of the
rows is held out for the test, the same share of each class.  Ctrl-C stops early and saves the epochs trained so far."""

OPTIONS = """\
options of training: python -m micrograd train --help
options of drawing:  python -m micrograd draw --help"""

TRAIN_EXAMPLES = """\
examples:
  python -m micrograd                                          Fisher's iris measurements
  python -m micrograd --data wine.csv --target cultivar --hidden 32 --out wine
  python -m micrograd --data wine.csv --resume wine/weights.json --epochs 20 --out wine"""

DRAW = f"""\
Evaluate an expression, run its backward pass, and draw the graph with all data, gradients and local derivatives.

The expression may hold numbers, names, + - * / **, parentheses, {" and ".join(CONSTANTS)}, and these functions:
{textwrap.fill(", ".join(sorted(FUNCTIONS)), 100)}"""

DRAW_EXAMPLES = """\
examples:
  python -m micrograd draw "tanh(w*x+b)" w=2 x=3 b=-1 --out g.svg
  python -m micrograd draw "maximum(0, 1 - y*s)**2" y=1 s=0.4 --out hinge.html"""


class CommandError(ValueError):
    """A command that cannot be carried out: the message is all that the user sees."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 after an error told in one line, 130 after Ctrl-C.

    >>> main(["draw", "2*x"])
    2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "train")
    if arguments[0] == "draw":  # argparse takes -x+1 for an option, unless a blank comes first
        arguments = [f" {a}" if re.match("-[^-]", a) and a != "-h" else a for a in arguments]
    try:
        options = _parser().parse_args(arguments)
        return int(options.command(options))
    except (CommandError, DataError, ExpressionError, TrainingError) as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except KeyboardInterrupt:
        print("micrograd: interrupted", file=sys.stderr)
        return INTERRUPTED
    print("micrograd: error:", " ".join(message.split()), file=sys.stderr)
    return WRONG


# ---------------------------------------------------------------------------------------------------------- train


def train(options: argparse.Namespace) -> int:
    """Train on the table, say how it went, write three files."""
    progress = _progress_bar()
    data, out = Path(options.data), Path(options.out)
    training = _resumed(options) if options.resume else _started(options)
    new_folders = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise CommandError(f"{out}: no permission to write there")
    _describe_data(training, data)
    try:
        finished = training.run(options.epochs, progress)
    except BaseException:
        for folder in new_folders:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise
    written = _write(training, out, data.name)
    _describe_result(training)
    print(f"written    {', '.join(map(str, written))}")
    if training.history[-1][0] > training.history[0][0]:
        lr = training.settings.lr
        print(f"micrograd: warning: the loss ended above where it began: try a lower --lr than {lr:g}", file=sys.stderr)
    if finished:
        return 0
    print(f"micrograd: interrupted after epoch {training.epochs}: continue with --resume {written[0]}", file=sys.stderr)
    return INTERRUPTED


def _started(options: argparse.Namespace) -> Training:
    return Training(read_csv(options.data, options.target), Settings(**_given(options)))


def _resumed(options: argparse.Namespace) -> Training:
    """The training saved in a file, continued on the data."""
    try:
        state = read_json(options.resume)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CommandError(f"{options.resume}: is not a weights.json that this program wrote")
    table = read_csv(options.data, options.target or state.get("target"))
    try:
        return Training.resume(table, state, **_given(options))
    except TrainingError as error:
        raise CommandError(f"{options.resume}: {error}") from None


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line."""
    values = {field.name: getattr(options, field.name) for field in fields(Settings)}
    return {name: value for name, value in values.items() if value is not None}


def _progress_bar() -> Callable[[Iterable[int]], Iterable[int]]:
    try:
        from tqdm import tqdm
    except ImportError:
        raise CommandError("the progress bar needs tqdm: pip install tqdm") from None
    return lambda epochs: tqdm(epochs, desc="training", unit="epoch", disable=None)  # None: quiet outside a terminal


def _write(training: Training, out: Path, data: str) -> list[Path]:
    """Write weights, loss curve and graph; the weights first, as they cannot be had again."""
    weights, loss, graph = out / "weights.json", out / "loss.svg", out / "graph.svg"
    write_json(weights, training.state())
    curves = {"training": [both[0] for both in training.history]}
    if training.held_out:
        curves["held out"] = [both[1] for both in training.history if both[1] is not None]
    loss.write_text(line_chart(f"Loss on {data}", "epoch", "cross-entropy", curves), encoding="utf-8")
    draw(training.example()).save(graph)
    return [weights, loss, graph]


def _describe_data(training: Training, data: Path) -> None:
    table, settings = training.table, training.settings
    counts, count = Counter(table.labels), len(table.features)
    classes = ", ".join(f"{name} {counts[name]}" for name in table.classes)
    sizes = " -> ".join(map(str, [len(table.features), *settings.hidden, len(table.classes)]))
    print(f"data       {data}: {len(table.rows)} rows, {count} feature{'s' * (count != 1)}, {table.target}: {classes}")
    print(f"split      {len(training.training)} rows to train on, {len(training.held_out)} held out (seed {settings.seed})")
    print(f"network    {sizes}, {settings.activation}, {len(training.model.parameters())} parameters")


def _describe_result(training: Training) -> None:
    print(f"trained    {training.epochs} epochs")
    parts = [("training", training.training, 0), ("held out", training.held_out, 1)]
    for word, rows, column in parts:
        if rows:
            first, last = training.history[0][column], training.history[-1][column]
            right = training.correct(rows)
            print(
                f"{word:10} loss {first:.4g} -> {last:.4g}, accuracy {right / len(rows):.1%} ({right} of {len(rows)} rows)"
            )


# ----------------------------------------------------------------------------------------------------------- draw


def draw_expression(options: argparse.Namespace) -> int:
    """Evaluate, differentiate and draw an expression; print its value and the gradients."""
    variables = parse_variables(options.variables)
    result = evaluate(options.expression, variables)
    result.backward()
    try:
        draw(result).save(options.out)
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    width = max(map(len, [*variables, "variable"]))
    print(f"{options.expression.strip()} = {result.data:.10g}")
    print(f"{'variable':{width}}  {'value':>12}  {'gradient':>12}")
    for name, variable in variables.items():
        print(f"{name:{width}}  {variable.data:12.6g}  {variable.grad:12.6g}")
    print(f"written to {options.out}")
    return 0


# --------------------------------------------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions, so that main tells them in one line like all others."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} ({self.prog} --help shows the options)")


def _parser() -> argparse.ArgumentParser:
    look: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    about = "micrograd, a scalar autodiff engine: train a classifier, or draw an expression and its gradients."
    parser = _Parser(
        prog="python -m micrograd", description=about, epilog=f"{OPTIONS}\n\n{TRAIN_EXAMPLES}\n{DRAW_EXAMPLES[10:]}", **look
    )
    parser.add_argument("--version", action="version", version=f"micrograd {micrograd.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="{train,draw}")
    training = commands.add_parser(
        "train", help="train a classifier; what runs without a command", description=TRAIN, epilog=TRAIN_EXAMPLES, **look
    )
    drawing = commands.add_parser(
        "draw", help="draw an expression and its gradients", description=DRAW, epilog=DRAW_EXAMPLES, **look
    )
    _add_train(training)
    _add_draw(drawing)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    usual = Settings()
    parser.set_defaults(command=train)
    parser.add_argument(
        "--data", default=str(IRIS), metavar="FILE", help="CSV file, first line names (default: Fisher's iris)"
    )
    parser.add_argument("--target", metavar="COLUMN", help="column that holds the classes (default: the last one)")
    parser.add_argument("--out", default="out", metavar="FOLDER", help="where the files are written (default: out)")
    parser.add_argument("--resume", metavar="FILE", help="continue from this weights.json, with its settings")
    parser.add_argument("--epochs", type=_count, default=40, metavar="N", help="passes over the rows (default: 40)")
    settings: dict[str, dict[str, Any]] = {
        "hidden": {"type": _positive, "nargs": "*", "metavar": "N", "help": "neurons of each hidden layer"},
        "activation": {"choices": USUAL_ACTIVATIONS, "metavar": "NAME", "help": ", ".join(USUAL_ACTIVATIONS)},
        "lr": {"type": _rate, "metavar": "X", "help": "learning rate of Adam"},
        "batch-size": {"type": _positive, "metavar": "N", "help": "rows for each step"},
        "seed": {"type": int, "metavar": "N", "help": "of the split, the first weights and the batches"},
        "test-fraction": {"type": _fraction, "metavar": "X", "help": "share of each class that is held out"},
    }
    for name, options in settings.items():
        default = getattr(usual, name.replace("-", "_"))
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        parser.add_argument(f"--{name}", **{**options, "help": f"{options['help']} (default: {shown})"})


def _add_draw(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=draw_expression)
    parser.add_argument("expression", help="such as 'tanh(w*x+b)', in quotes")
    parser.add_argument("variables", nargs="*", metavar="name=value", help="a value for each name, such as w=2")
    parser.add_argument(
        "--out", default="graph.svg", metavar="FILE", help="the picture, its kind by suffix (default: graph.svg)"
    )


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} up, got {text!r}")
    return number


def _count(text: str) -> int:
    return _whole(text, 0)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _between(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return number


def _rate(text: str) -> float:
    return _between(text, "a number above 0, such as 0.01", lambda x: 0.0 < x < math.inf)


def _fraction(text: str) -> float:
    return _between(text, "a number from 0 up to 1, such as 0.2", lambda x: 0.0 <= x < 1.0)


if __name__ == "__main__":
    sys.exit(main())
