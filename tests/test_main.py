"""The command line: the files that it writes, what it says, and its exit codes."""

from __future__ import annotations

import json
import re
import sys
from xml.etree import ElementTree

import pytest
from conftest import run_fresh

import micrograd
from micrograd.__main__ import main
from micrograd.data import read_csv
from micrograd.training import Settings, Training

FILES = ["graph.svg", "loss.svg", "weights.json"]
QUICK = ["--hidden", "3", "--epochs", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own as the working directory, with a small table of two classes in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(table())
    return tmp_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What the weights.json of a short training on that table holds."""
    path = tmp_path_factory.mktemp("saved") / "table.csv"
    path.write_text(table())
    training = Training(read_csv(path), Settings(hidden=[3]))
    training.run(2)
    return training.state()


def table():
    rows = [f"{i % 7},{i % 5 - 9 * (i % 2)},{'odd' if i % 2 else 'even'}\n" for i in range(20)]
    return "a,b,kind\n" + "".join(rows)


def listed(path):
    return sorted(p.name for p in path.iterdir())


def said_in_one_line(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("micrograd: error: ")
    assert err.count("\n") == 1
    return err


# ---------------------------------------------------------------------------------------------------------- train


def test_the_default_job_learns_iris_and_writes_three_files(folder, capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # no progress bar outside a terminal
    assert "150 rows, 4 features, species: setosa 50, versicolor 50, virginica 50" in out
    assert "120 rows to train on, 30 held out" in out
    assert float(re.search(r"held out .* accuracy ([\d.]+)%", out).group(1)) >= 93.0
    assert listed(folder / "out") == FILES
    for name in ("loss.svg", "graph.svg"):
        root = ElementTree.parse(folder / "out" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.find("{http://www.w3.org/2000/svg}title").text


def test_train_is_the_command_that_runs_where_none_is_named(folder):
    assert main(["train", "--data", "table.csv", "--out", "a", *QUICK]) == 0
    assert main(["--data", "table.csv", "--out", "b", *QUICK]) == 0
    for name in FILES:
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes()


def test_the_files_are_the_same_under_every_hash_seed(folder):
    for seed in ("1", "2"):
        run_fresh(
            f"import os; os.chdir({str(folder)!r}); from micrograd.__main__ import main\n"
            f"assert main(['--data', 'table.csv', '--out', 'out{seed}', '--hidden', '3', '--epochs', '2']) == 0",
            PYTHONHASHSEED=seed,
        )
    for name in FILES:
        assert (folder / "out1" / name).read_bytes() == (folder / "out2" / name).read_bytes()


def test_a_training_that_is_continued_ends_at_the_weights_of_one_that_was_not_interrupted(folder):
    start = ["--data", "table.csv", "--hidden", "3", "2", "--activation", "relu", "--seed", "5", "--batch-size", "3"]
    assert main([*start, "--epochs", "5", "--out", "whole"]) == 0
    assert main([*start, "--epochs", "2", "--out", "parts"]) == 0
    resumed = ["--data", "table.csv", "--resume", "parts/weights.json", "--epochs", "3", "--out", "parts"]
    assert main(resumed) == 0
    for name in FILES:
        assert (folder / "whole" / name).read_bytes() == (folder / "parts" / name).read_bytes()


def test_the_learning_rate_may_change_when_a_training_is_continued(folder):
    assert main(["--data", "table.csv", "--out", "a", *QUICK]) == 0
    resumed = ["--data", "table.csv", "--resume", "a/weights.json", "--epochs", "1", "--lr", "0.5", "--out", "b"]
    assert main(resumed) == 0
    assert json.loads((folder / "b/weights.json").read_text())["settings"]["lr"] == 0.5


def interrupted_at_epoch(number, train_one_epoch):
    def train(self):
        train_one_epoch(self)  # so that the weights have moved when Ctrl-C comes
        if self.epochs == number - 1:
            raise KeyboardInterrupt

    return train


def test_ctrl_c_saves_the_whole_epochs_trained_so_far(folder, monkeypatch, capsys):
    assert main(["--data", "table.csv", "--hidden", "3", "--epochs", "2", "--out", "two"]) == 0
    monkeypatch.setattr(Training, "train_one_epoch", interrupted_at_epoch(3, Training.train_one_epoch))
    capsys.readouterr()
    assert main(["--data", "table.csv", "--hidden", "3", "--epochs", "9", "--out", "stopped"]) == 130
    out, err = capsys.readouterr()
    assert "trained    2 epochs" in out
    assert re.fullmatch(r"micrograd: interrupted after epoch 2: continue with --resume \S+weights.json\n", err)
    for name in FILES:
        assert (folder / "two" / name).read_bytes() == (folder / "stopped" / name).read_bytes()


def test_a_real_signal_ends_a_process_with_130_and_leaves_the_files(folder):
    said = run_fresh(
        f"""
import os, signal
os.chdir({str(folder)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would inherit "ignore"
from micrograd.__main__ import main
from micrograd.data import read_csv
from micrograd.training import Settings, Training
train_one_epoch = Training.train_one_epoch
def train(self):
    train_one_epoch(self)
    if self.epochs == 2:
        signal.raise_signal(signal.SIGINT)
Training.train_one_epoch = train
print("exit code", main(["--data", "table.csv", "--hidden", "3", "--epochs", "9"]))
"""
    )
    assert "exit code 130" in said
    assert listed(folder / "out") == FILES


def test_ctrl_c_before_training_writes_nothing(folder, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "__init__", interrupted)
    assert main(["--data", "table.csv"]) == 130
    assert capsys.readouterr().err == "micrograd: interrupted\n"
    assert listed(folder) == ["table.csv"]


def test_weights_json_holds_all_that_the_network_needs(folder):
    assert main(["--data", "table.csv", "--out", "out", *QUICK]) == 0
    saved = json.loads((folder / "out/weights.json").read_text())
    assert (saved["features"], saved["target"], saved["classes"]) == (["a", "b"], "kind", ["even", "odd"])
    assert len(saved["mean"]) == len(saved["scale"]) == 2
    assert len(saved["parameters"]) == 2 * 3 + 3 + 3 * 2 + 2
    assert len(saved["loss"]) == 1 + 2
    model = micrograd.MLP(2, [*saved["settings"]["hidden"], 2], activation=saved["settings"]["activation"])
    model.load_state_dict(saved["parameters"])


def test_without_held_out_rows_none_are_reported(folder, capsys):
    assert main(["--data", "table.csv", "--test-fraction", "0", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "20 rows to train on, 0 held out" in out
    assert "held out " not in out.split("trained")[1]


def test_without_hidden_neurons_and_epochs_a_linear_classifier_is_written(folder):
    assert main(["--data", "table.csv", "--epochs", "0", "--hidden"]) == 0
    assert listed(folder / "out") == FILES


def test_a_diverging_training_is_reported(folder, capsys):
    assert main(["--data", "table.csv", "--lr", "1e308", "--hidden", "3", "--activation", "relu"]) == 2
    assert "use a smaller learning rate" in capsys.readouterr().err
    assert listed(folder) == ["table.csv"]
    assert main(["--data", "table.csv", "--lr", "1e308", "--activation", "relu", "--out", "a/b"]) == 2
    assert listed(folder) == ["table.csv"]


def test_a_training_that_ends_worse_than_it_began_is_warned_about(folder, capsys):
    assert main(["--data", "table.csv", "--lr", "30", *QUICK]) == 0
    assert capsys.readouterr().err == ("micrograd: warning: the loss ended above where it began: try a lower --lr than 30\n")
    assert main(["--data", "table.csv", *QUICK]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", [lambda text: text + "3,4,odd\n", lambda text: text.replace("\n1,", "\n2,")])
def test_a_table_whose_rows_changed_is_refused_when_a_training_is_continued(folder, capsys, change):
    assert main(["--data", "table.csv", *QUICK]) == 0
    capsys.readouterr()
    (folder / "table.csv").write_text(change(table()))
    assert main(["--data", "table.csv", "--resume", "out/weights.json"]) == 2
    said = said_in_one_line(capsys)
    assert "was trained with rows 20, but the data has 21" in said or "was trained on other rows" in said


WRONG = {
    "missing file": (["--data", "none.csv"], "none.csv: no such file"),
    "missing column": (["--data", "table.csv", "--target", "c"], "table.csv: no column 'c': the columns are a, b, kind"),
    "text in a number": (["--data", "table.csv", "--target", "a"], "line 2, column 'kind': expected a number, got 'even'"),
    "unknown activation": (["--activation", "swish"], "argument --activation: invalid choice: 'swish'"),
    "no neurons": (["--hidden", "8", "0"], "argument --hidden: expected a whole number from 1 up, got '0'"),
    "half an epoch": (["--epochs", "1.5"], "argument --epochs: expected a whole number from 0 up, got '1.5'"),
    "no rate": (["--lr", "nan"], "argument --lr: expected a number above 0, such as 0.01, got 'nan'"),
    "all held out": (["--test-fraction", "1"], "argument --test-fraction: expected a number from 0 up to 1, such as 0.2"),
    "empty batches": (["--batch-size", "0"], "argument --batch-size: expected a whole number from 1 up, got '0'"),
    "abbreviation": (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
    "unknown command": (["trian"], "invalid choice: 'trian'"),
    "missing weights": (["--resume", "none.json"], "none.json: No such file or directory"),
    "out is a file": (["--data", "table.csv", "--out", "table.csv"], "table.csv: File exists"),
    "resume from a table": (["--resume", "table.csv"], "table.csv is not a JSON file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(folder, capsys, name):
    arguments, message = WRONG[name]
    assert main(arguments) == 2
    assert message in said_in_one_line(capsys)
    assert listed(folder) == ["table.csv"]


def test_a_missing_tqdm_is_named_with_the_command_that_installs_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(["--data", "table.csv"]) == 2
    assert "pip install tqdm" in said_in_one_line(capsys)


UNFIT = {
    "other columns": ([], {"features": ["a", "c"]}, "was trained with features a, c, but the data has a, b"),
    "other classes": ([], {"classes": ["x", "y", "z"]}, "was trained with classes x, y, z, but the data has even, odd"),
    "other target": (["--target", "kind"], {"target": "b"}, "was trained with target b, but the data has kind"),
    "other sizes": (["--hidden", "8", "8"], {}, "was trained with hidden 3, but the command line says 8, 8"),
    "other split": (["--test-fraction", "0.5"], {}, "was trained with test_fraction 0.2, but the command line says 0.5"),
    "other seed": (["--seed", "9"], {}, "was trained with seed 0, but the command line says 9"),
    "other activation": (["--activation", "relu"], {}, "was trained with activation tanh, but the command line says relu"),
    "other file": ([], {"format": "micrograd classifier 0"}, "is not a weights.json that this program wrote"),
    "no weights": ([], {"parameters": {}}, "is damaged: ValueError: these are not the weights of this model"),
    "text as weights": ([], {"parameters": "w"}, "is damaged: TypeError"),
    "no settings": ([], {"settings": None}, "is damaged: TypeError"),
    "no optimiser": ([], {"optimizer": {}}, "is damaged: ValueError"),
    "no statistics": ([], {"mean": []}, "is damaged: mean must be a list of 2 numbers, one for each feature"),
    "a number too many": ([], {"scale": [1.0] * 3}, "is damaged: scale must be a list of 2 numbers above 0, one for each"),
    "a scale of zero": ([], {"scale": [1.0, 0]}, "is damaged: scale must be a list of 2 numbers above 0, one for each"),
    "text as statistics": ([], {"mean": [1.0, "x"]}, "is damaged: mean must be a list of 2 numbers, one for each feature"),
    "other rows": ([], {"sha256": "0"}, "was trained on other rows: continue it on the same file, or train anew"),
    "no losses": ([], {"loss": []}, "is damaged: ValueError"),
    "text as losses": ([], {"loss": [["x", "y"]]}, "is damaged: ValueError"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_weights_that_do_not_fit_are_refused(folder, capsys, saved, name):
    extra, change, message = UNFIT[name]
    (folder / "weights.json").write_text(json.dumps({**saved, **change}))
    assert main(["--data", "table.csv", "--resume", "weights.json", *extra]) == 2
    assert f"error: weights.json: {message}" in said_in_one_line(capsys)
    assert listed(folder) == ["table.csv", "weights.json"]


def test_saved_weights_that_overflow_are_refused(folder, capsys, saved):
    overflowing = {**saved, "parameters": dict.fromkeys(saved["parameters"], 1e308)}
    (folder / "weights.json").write_text(json.dumps(overflowing))
    assert main(["--data", "table.csv", "--resume", "weights.json"]) == 2
    assert "the loss is " in said_in_one_line(capsys)


# ----------------------------------------------------------------------------------------------------------- draw


def test_draw_prints_value_and_gradients_and_saves_the_picture(folder, capsys):
    assert main(["draw", "w*x + b", "w=2", "x=3", "b=-1", "--out", "g.svg"]) == 0
    assert capsys.readouterr().out == (
        "w*x + b = 5\n"
        "variable         value      gradient\n"
        "w                    2             3\n"
        "x                    3             2\n"
        "b                   -1             1\n"
        "written to g.svg\n"
    )
    assert ElementTree.parse(folder / "g.svg").getroot().tag.endswith("svg")


def test_the_suffix_chooses_the_kind_of_picture(folder):
    assert main(["draw", "x*x", "x=3", "--out", "g.dot"]) == 0
    assert (folder / "g.dot").read_text().startswith("digraph")


def test_an_expression_may_begin_with_a_minus(folder, capsys):
    assert main(["draw", "-x+1", "x=3"]) == 0
    assert capsys.readouterr().out.startswith("-x+1 = -2\n")
    assert listed(folder) == ["graph.svg", "table.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: expression"),
        (["tanh(x"], "column 5 of 'tanh(x': '(' was never closed"),
        (["w*x", "w", "=", "2"], "a variable is written without blanks around =: write w=2"),
        (["x*y", "x=2"], "column 3 of 'x*y': y has no value: add y=1 after the expression"),
        (["x", "x=2", "y=3"], "the expression does not use y"),
        (["x", "x=two"], "x: expected a number after =, got 'two'"),
        (["9**9**9"], "the expression has no variable"),
        (["x", "x=2", "--out", "g.xyz"], "xyz"),
        (["x", "x=2", "--out", "nowhere/g.svg"], "nowhere/g.svg: No such file or directory"),
    ],
)
def test_a_wrong_drawing_command_is_answered_in_one_line(folder, capsys, arguments, message):
    assert main(["draw", *arguments]) == 2
    assert message in said_in_one_line(capsys)
    assert listed(folder) == ["table.csv"]


# --------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize("command", [[], ["train"], ["draw"]])
def test_help_shows_examples(capsys, command):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  python -m micrograd" in capsys.readouterr().out


def test_the_general_help_says_where_the_options_are(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "options of training: python -m micrograd train --help\n" in capsys.readouterr().out


def test_every_setting_is_explained_with_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    explained = " ".join(capsys.readouterr().out.split())
    for default in ("Fisher's iris", "out", "40", "16", "tanh", "0.01", "0", "0.2"):
        assert f"(default: {default})" in explained


def test_the_version_is_that_of_the_package():
    said = run_fresh("import runpy, sys; sys.argv[1:] = ['--version']; runpy.run_module('micrograd', run_name='__main__')")
    assert said == f"micrograd {micrograd.__version__}\n"


def test_the_module_runs_as_a_program():
    with pytest.raises(AssertionError, match="micrograd: error: the expression has no variable"):
        run_fresh("import runpy, sys; sys.argv[1:] = ['draw', '2+3']; runpy.run_module('micrograd', run_name='__main__')")
