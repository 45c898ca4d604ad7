"""What every test may ask for: 64-bit floats, a count of compilations, proof of lowering, a run of an experiment."""

import contextlib
import os
import tempfile
import traceback
from collections.abc import Callable, Generator, Iterator

# Tests run one process per core, so more than one thread in each would only make them wait for one another.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Compiling takes most of the time: it leaves out what LLVM makes faster, and what one test has compiled serves others.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # the other processes inherit it
    compiled_before = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled_before.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import hypothesis
import jax
import jax.export
import jaxtyping
import pytest

hypothesis.settings.register_profile(
    "seqjax",
    max_examples=20,
    deadline=None,  # the first example compiles, the others do not
    derandomize="CI" in os.environ,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,  # none of the fixtures below remembers anything
    ],
)
hypothesis.settings.load_profile("seqjax")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--matrix", action="store_true", help="run all entries of tests/recurrence/test_composition.py")


def pytest_sessionstart() -> None:
    from seqjax.devices.compilation import (
        compile_quickly,  # only now, after jaxtyping has set itself to check what is imported
    )

    compile_quickly()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Skips a test in which optax itself converts types implicitly, in one of three places, and JAX forbids it."""
    try:
        return (yield)
    except jax.dtypes.TypePromotionError as error:
        trace = "".join(traceback.format_tb(error.__traceback__))
        for place in "tree_bias_correction", "ctc_loss_with_forward_probs", "_reduce_on_plateau.py":
            if place in trace:
                pytest.skip(f"optax converts types implicitly, in {place}")
        raise


@pytest.fixture
def x64() -> Iterator[None]:
    """Makes float64 the default for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Leaves it to the library to refuse wrong arguments, which the check of its signatures would refuse first."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def jitted() -> None:
    """Skips a test of what only `jit` does, such as compilation and donation, if JAX_DISABLE_JIT is set."""
    if jax.config.jax_disable_jit:
        pytest.skip("JAX_DISABLE_JIT is set")


@pytest.fixture(scope="session")
def lowers(jitted) -> Callable[..., jax.export.Exported]:
    """`lowers(function, *args, **kwargs)` fails unless the jitted function lowers for every accelerator."""

    def lower(function: Callable, *args, **kwargs) -> jax.export.Exported:
        return jax.export.export(jax.jit(function), platforms=["cuda", "rocm", "tpu"])(*args, **kwargs)

    return lower


@pytest.fixture(scope="session")
def compilations(jitted) -> Callable[[], contextlib.AbstractContextManager[list[str]]]:
    """`with compilations() as compiled:` lists the name of whatever XLA compiles within the block.

    An operation outside `jit` compiles too, the first time that a shape is seen: make the inputs before the block.
    """

    @contextlib.contextmanager
    def record() -> Iterator[list[str]]:
        compiled: list[str] = []

        def listen(event: str, duration: float, **metadata: str | int) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                compiled.append(str(metadata.get("fun_name")))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield compiled
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return record


@pytest.fixture(scope="session")
def run_experiment() -> Callable[..., None]:
    """`run_experiment(module, "--flag=value", ...)` does what `python -m` does with a script of experiments."""

    def run(module, *arguments) -> None:
        from experiments.harness.settings import parse

        script = module.__name__.removeprefix("experiments.")
        module.main(parse(module.Settings, [str(argument) for argument in arguments], script=script))

    return run
