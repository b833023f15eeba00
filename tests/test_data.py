"""Reading CSV files, the split, and the standardised inputs."""

from __future__ import annotations

import math
import random

import pytest
from conftest import oracle

from micrograd.data import IRIS, DataError, Standardiser, read_csv, split


def written(folder, content):
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


GOOD = {
    "plain": "a,b,c\n1,2,x\n3,4,y\n",
    "byte-order mark": "\ufeffa,b,c\n1,2,x\n3,4,y\n",
    "carriage returns": "a,b,c\r\n1,2,x\r\n3,4,y\r\n",
    "no newline at the end": "a,b,c\n1,2,x\n3,4,y",
    "blank lines": "\na,b,c\n\n1,2,x\n , ,\n3,4,y\n\n",
    "blanks around cells": " a , b,c\n 1,2 ,x \n3, 4,y\n",
    "quotes": '"a","b","c"\n"1","2","x"\n3,4,y\n',
    "number formats": "a,b,c\n1e0,+2.,x\n3.0,4,y\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_table_is_read_whatever_its_dialect(tmp_path, name):
    table = read_csv(written(tmp_path, GOOD[name]))
    assert (table.features, table.target) == (["a", "b"], "c")
    assert (table.rows, table.labels) == ([[1.0, 2.0], [3.0, 4.0]], ["x", "y"])


def test_the_target_may_be_any_column_and_its_classes_numbers(tmp_path):
    table = read_csv(written(tmp_path, "kind,a\n1,5\n0,6\n1,7\n"), target="kind")
    assert (table.features, table.rows, table.labels) == (["a"], [[5.0], [6.0], [7.0]], ["1", "0", "1"])
    assert table.classes == ["0", "1"]


def test_names_and_classes_may_hold_commas_newlines_and_any_letter(tmp_path):
    table = read_csv(written(tmp_path, '"a,\nb",é\n1,"x,y"\n2,ß\n'))
    assert (table.features, table.target, table.classes) == (["a,\nb"], "é", ["x,y", "ß"])


BAD = {
    "empty file": (b"", "is empty: expected a line of column names"),
    "only blanks": ("\n\n  \n", "is empty"),
    "only a byte-order mark": ("\ufeff", "is empty"),
    "no rows": ("a,b\n", "has column names but no rows"),
    "text where a number belongs": ("a,b,c\n1,2,x\n3,four,y\n", "line 3, column 'b': expected a number, got 'four'"),
    "line numbers count blank lines": ("a,b,c\n\n1,2,x\n\n3,four,y\n", "line 5, column 'b'"),
    "line numbers count quoted newlines": ('a,b,c\n1,2,"x\nx"\n3,four,y\n', "line 4, column 'b'"),
    "empty cell": ("a,b,c\n1,,x\n", "line 2, column 'b': expected a number, got an empty cell"),
    "empty class": ("a,b,c\n1,2,\n", "line 2, column 'c': expected a class, got an empty cell"),
    "nan": ("a,b\n1,x\nnan,y\n", "line 3, column 'a': expected a finite number, got nan"),
    "infinity": ("a,b\n1,x\n-Infinity,y\n", "line 3, column 'a': expected a finite number, got -Infinity"),
    "overflow": ("a,b\n1e999,x\n", "line 2, column 'a': expected a finite number, got 1e999"),
    "short row": ("a,b,c\n1,2,x\n3,4\n", "line 3: expected 3 cells, as in the line of names, got 2"),
    "long row": ("a,b,c\n1,2,x,\n", "line 2: expected 3 cells, as in the line of names, got 4"),
    "duplicate names": ("a,a,b\n1,2,x\n", "line 1: two columns are named 'a'"),
    "nameless column": (",a,b\n0,1,x\n", "line 1: column 1 has no name"),
    "no line of names, whole numbers": ("1,2\n3,4\n", "line 1 must name the columns, but holds only numbers"),
    "no line of names": ("5.1,3.5,setosa\n4.9,3.0,setosa\n", "line 1 must name the columns, but holds the number 5.1"),
    "one column": ("a\n1\n", "line 1: expected two columns or more, separated by commas, got only 'a'"),
    "semicolons": (
        "a;b\n1;x\n",
        "line 1: expected two columns or more, separated by commas, got only 'a;b': save the file with commas in place of",
    ),
    "tabs": (
        "a\tb\n1\tx\n",
        r"line 1: expected two columns or more, separated by commas, got only 'a\tb': save the file with commas in place of",
    ),
    "Python's underscores": ("a,b,c\n1_000,2,x\n", "line 2, column 'a': expected a number, got '1_000'"),
    "one class": ("a,b\n1,x\n2,x\n", "column 'b' has only one class, 'x'"),
    "a measurement as the target": (
        "a,b\n" + "".join(f"1,{i % 12}.5\n" for i in range(100)),
        "column 'b' has 12 distinct values in 100 rows, such as '0.5': expected classes",
    ),
    "an index as the target": (
        "a,b\n" + "".join(f"1,{i}\n" for i in range(9)),
        "column 'b' has 9 distinct values in 9 rows",
    ),
    "UTF-16": ("a,b\n1,x\n".encode("utf-16"), "is not UTF-8 text (byte 0 is 0x"),
    "Latin-1": ("a,b\n1,é\n".encode("latin-1"), "is not UTF-8 text (byte 6 is 0xe9): save it as CSV UTF-8"),
    "binary": (b"PK\x03\x04\0\0a,b\n", "is a binary file"),
    "unclosed quote": ('a,b\n1,x\n2,"y\n3,z\n', "line 3: "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_an_error_that_says_where(tmp_path, name):
    content, message = BAD[name]
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_text_in_another_column_than_the_last_is_answered_by_the_choice_of_the_target(tmp_path):
    path = written(tmp_path, "kind,a\nx,1\ny,2\n")
    hint = "; the classes are taken from column 'a', the last one: choose with --target"
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert str(caught.value) == f"{path}: line 2, column 'kind': expected a number, got 'x'{hint}"
    with pytest.raises(DataError, match=r"expected a number, got 'x'$"):
        read_csv(path, target="a")


def test_a_missing_column_is_answered_by_the_columns_there_are(tmp_path):
    with pytest.raises(DataError, match="no column 'species': the columns are a, b, c"):
        read_csv(written(tmp_path, GOOD["plain"]), target="species")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path)


def test_ten_classes_of_fractions_are_classes_and_a_class_of_one_row_is_allowed(tmp_path):
    assert len(read_csv(written(tmp_path, "a,b\n" + "".join(f"1,{i % 10}.5\n" for i in range(100)))).classes) == 10
    assert read_csv(written(tmp_path, "a,b\n1,x\n2,y\n3,y\n")).classes == ["x", "y"]


def test_the_iris_file_holds_the_numbers_of_scikit_learn():
    iris = oracle("sklearn.datasets").load_iris()
    table = read_csv(IRIS)
    assert table.rows == iris.data.tolist()
    assert table.labels == [str(iris.target_names[i]) for i in iris.target]
    assert [name.removesuffix("_cm").replace("_", " ") + " (cm)" for name in table.features] == iris.feature_names


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_the_split_takes_each_row_once_and_the_same_share_of_each_class(fraction):
    labels = ["a"] * 50 + ["b"] * 20 + ["c"] * 2
    random.Random(0).shuffle(labels)
    training, held_out = split(labels, fraction, seed=3)
    assert sorted(training + held_out) == list(range(72))
    for name in "abc":
        count = labels.count(name)
        share = sum(labels[i] == name for i in held_out)
        assert 1 <= share <= count - 1
        assert abs(share - fraction * count) <= 1


def test_the_split_depends_on_the_seed_alone():
    labels = ["a", "b"] * 20
    assert split(labels, 0.25, seed=1) == split(labels, 0.25, seed=1) != split(labels, 0.25, seed=2)


def test_nothing_is_held_out_of_a_fraction_of_0_or_a_class_of_one_row():
    assert split(["a", "b"], 0.0, seed=0) == split(["a", "b"], 0.5, seed=0) == ([0, 1], [])


def test_standardised_columns_equal_those_of_scikit_learn():
    preprocessing = oracle("sklearn.preprocessing")
    rng = random.Random(0)
    rows = [[rng.gauss(5.0, 3.0), rng.uniform(-1e6, 1e6), 0.1, 1e-3 * rng.random()] for _ in range(40)]
    expected = preprocessing.StandardScaler().fit_transform(rows).tolist()
    fitted = Standardiser.fit(rows, list("abcd"))
    for row, wanted in zip(rows, expected, strict=True):
        assert fitted(row) == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_a_constant_column_stays_at_zero_although_its_mean_is_rounded():
    fitted = Standardiser.fit([[0.1], [0.1], [0.1]], ["a"])
    assert abs(fitted([0.1])[0]) < 1e-15


def test_numbers_of_any_size_standardise_or_are_refused():
    fitted = Standardiser.fit([[1e300], [-1e300], [0.0]], ["a"])
    assert fitted([1e300])[0] == pytest.approx(math.sqrt(1.5), rel=1e-15)
    with pytest.raises(DataError, match="column 'a': its numbers are too large to standardise"):
        Standardiser.fit([[1.7e308], [-1.7e308]], ["a"])
