import ast

import pytest

from experiments import datasets
from experiments.datasets.pair_file import PairBuilder
from experiments.datasets.python_stdlib import python_stdlib
from seqjax.data import read_pair_dataset

SOURCE = '''
def half(x, by=2):
    """Halve a number. And more.

    Much more.
    """
    y.z = y.z[0]
    return x / by
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    folder = tmp_path / "lib"
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "left_out.py").write_text("left.out()")
    (folder / "a.py").write_text(SOURCE)
    (folder / "b.py").write_text("".join(f"f({n} + {n})\n" for n in range(99)) + "x / by\n")
    monkeypatch.setattr(python_stdlib.sysconfig, "get_path", lambda name: folder)
    return folder


def test_pairs_of_a_module():
    module = ast.parse(SOURCE)
    assert list(python_stdlib.signatures(module)) == [("Halve a number", "def half(x, by=2):")]
    assert dict(python_stdlib.expressions(module)) == {
        "y.z": "Attribute(Name('y'), 'z')",
        "y.z[0]": "Subscript(Attribute(Name('y'), 'z'), Constant(0))",
        "x / by": "BinOp(Name('x'), Div(), Name('by'))",
    }


def test_the_running_library():
    first = next(python_stdlib.read_modules(python_stdlib.Path(python_stdlib.sysconfig.get_path("stdlib"))))
    assert ast.get_docstring(first).startswith("Record of phased-in incompatible language changes")


def test_prepared_twice_gives_the_same_bytes_and_each_pair_in_one_part(tmp_path, library):
    def prepare(data_dir):
        splits = read_pair_dataset(datasets.builder("python_stdlib/expressions", data_dir))
        assert len({*splits.train, *splits.validation, *splits.test}) == sum(map(len, splits)) == 99 + 3
        for part, pairs in splits._asdict().items():
            assert all(PairBuilder.part_of(source) == part for source, _ in pairs)
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "first") == prepare(tmp_path / "second")


def test_a_library_that_is_not_there_or_damaged_is_named(library, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(python_stdlib.read_modules(tmp_path / "nowhere"))
    (library / "c.py").write_text("a b")
    with pytest.raises(SyntaxError, match=r"c\.py, line 1"):
        list(python_stdlib.read_modules(library))
