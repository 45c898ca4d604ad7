import platform

import pytest

from experiments import datasets
from experiments.datasets.python_source import python_source
from seqjax.data import read_text_dataset


@pytest.fixture
def library(tmp_path, monkeypatch):
    folder = tmp_path / "lib"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "left_out.py").write_text("left.out()")
    for number in range(200):
        (folder / f"module{number}.py").write_text(f"name = 'module{number}, \u00e9'", encoding="utf-8")
    monkeypatch.setattr(python_source.sysconfig, "get_path", lambda name: folder)
    return folder


def test_each_module_is_in_one_part_whole(library, tmp_path):
    splits = read_text_dataset(datasets.builder("python_source", tmp_path))
    modules = [part.split("\n\n") for part in splits]
    assert sorted(sum(modules, [])) == sorted(f"name = 'module{number}, \u00e9'" for number in range(200))
    assert 170 <= len(modules[0]) <= 190 and min(map(len, modules)) >= 3


def test_prepared_twice_gives_the_same_bytes(library, tmp_path):
    def prepare(data_dir):
        read_text_dataset(datasets.builder("python_source", data_dir))
        return {str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}

    assert prepare(tmp_path / "first") == prepare(tmp_path / "second")


def test_the_version_is_that_of_python():
    builders = map(datasets.builder, ("python_source", "python_stdlib/expressions"))
    assert all(platform.python_version().startswith(str(builder.version)) for builder in builders)


def test_the_running_library_is_code(tmp_path):
    splits = read_text_dataset(datasets.builder("python_source", tmp_path))
    assert sum(map(len, splits)) > 1_000_000 and min(map(len, splits)) > 20_000
    assert all(part.count("\n    ") > 400 for part in splits)
