"""One sequence to another: an encoder reads the source, a decoder writes the target, with or without attention."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Integer

from seqjax.arguments import check_symbols, clip_lengths, within
from seqjax.cells.contract import Cell, State
from seqjax.cells.regularization import variational_dropout
from seqjax.layers.attention import Alignment, Attention, Memory, new_alignment, next_alignment
from seqjax.layers.copying import with_copies
from seqjax.layers.linen import Attend, Embedding, Recurrent


class Encoded(NamedTuple):
    """An encoded source, shared by all hypotheses of an example: the `context` of `seqjax.decoding`."""

    memory: Memory | None  # None without attention
    sources: Integer[Array, "*B S"] | None  # the symbols that can be copied; None without copying


class DecoderState(NamedTuple):
    """The carry of the decoder from token to token: the `state` of `seqjax.decoding`."""

    recurrent: tuple[State, ...]
    alignment: Alignment | None
    feed: Float[Array, "*B F"] | None  # features of the previous step, with input feeding


class Reading(NamedTuple):
    """Inputs of the output layer, for one step or for each of `T` steps."""

    features: Float[Array, "*B F"]
    weights: Float[Array, "*B S"] | None  # attention weights
    copy_logit: Float[Array, "*B"] | None  # logit of generating a symbol rather than copying one


class Noise(NamedTuple):
    """The dropout masks of one pass, the same at every step (Gal and Ghahramani 2016)."""

    embedding: Float[Array, "*B E"]
    features: Float[Array, "*B F"]


class Seq2Seq(nn.Module):
    """Predicts each symbol of a target from the source and the symbols before it.

    Without attention, the decoder sees only the final states of the encoder (Sutskever et al. 2014). With attention, it
    follows Luong et al. (2015), equations 5 and 6, where E embeds a token, h is the decoder's output and a the weights:

        h_t  = decoder(h_(t-1), [E y_(t-1); f_(t-1)])      f_(t-1) only with input feeding (section 3.3)
        c_t  = sum_s a_ts v_s                               v_s: the outputs of the encoder
        f_t  = tanh(W_c [c_t; h_t])
        p(y_t | y_<t, x) = softmax(W_o f_t)

    With copying (See et al. 2017, equations 8 and 9), source and target share one numbering of symbols, and

        p(w) = g softmax(W_o f_t)[w] + (1 - g) sum_(s: x_s = w) a_ts     g = sigma(w_g . [c_t; h_t; E y_(t-1)])

    Each layer of the decoder starts from the final state of the same layer of the encoder. The state is passed on
    directly if its structure and shapes match; otherwise the bridge, a dense layer with tanh, maps it.

    Attributes:
      source_size: number of source symbols.
      target_size: number of target symbols, `V`.
      encoder: reads the source, in one or both directions.
      decoder: writes the target; needs as many layers as the encoder.
      embedding_size: size `E` of an embedded symbol.
      attention: see `seqjax.layers.attention`; None for a model without attention.
      input_feeding: whether the features of one step are an input of the next.
      tie_embeddings: whether W_o is the embedding of the target (Press and Wolf 2017).
      reverse_source: whether the encoder reads each source backwards, as Sutskever et al. (2014) do.
      copying: whether symbols of the source can be copied; needs attention. Sources may then contain symbols from
        `target_size` to `source_size - 1`, which can only be copied.
      unknown: the symbol that the decoder reads in place of such a copied symbol.
      dropout_rate: dropout rate of embeddings and features.

    >>> import seqjax
    >>> from seqjax.layers.attention import additive
    >>> model = Seq2Seq(
    ...     source_size=7,
    ...     target_size=5,
    ...     encoder=Recurrent(seqjax.lstm(hidden_size=8), bidirectional=True),
    ...     decoder=Recurrent(seqjax.lstm(hidden_size=8)),
    ...     embedding_size=4,
    ...     attention=additive(size=8),
    ... )
    >>> sources, lengths, inputs = jnp.ones((2, 6), int), jnp.array([6, 3]), jnp.zeros((2, 4), int)
    >>> (logits, weights), variables = model.init_with_output(jax.random.key(0), sources, lengths, inputs)
    >>> logits.shape, weights.shape
    ((2, 4, 5), (2, 4, 6))
    >>> context, state = model.apply(variables, sources, lengths, method="encode")
    >>> def step(params, context, state, token):  # once for each model, because each function compiles a search
    ...     return model.apply(params, context, state, token, method="step")
    >>> seqjax.greedy_search(step, variables, context, state, bos=0, eos=1, max_length=9).tokens.shape
    (2, 1, 9)
    """

    source_size: int
    target_size: int
    encoder: Recurrent
    decoder: Recurrent
    embedding_size: int
    attention: Attention | None = None
    input_feeding: bool = False
    tie_embeddings: bool = False
    reverse_source: bool = False
    copying: bool = False
    unknown: int = 0
    dropout_rate: float = 0.0

    def setup(self) -> None:
        """Builds the embeddings, the bridge, the attention and the output layer."""
        if self.encoder.layers != self.decoder.layers:
            raise ValueError(
                f"decoder: expected {self.encoder.layers} layers, like the encoder, got {self.decoder.layers}"
            )
        if self.decoder.bidirectional:
            raise ValueError("decoder: expected unidirectional layers, got bidirectional ones")
        if self.copying and self.attention is None:
            raise ValueError("copying: expected an attention, which chooses the symbols to copy, got None")
        if self.copying and self.source_size < self.target_size:
            raise ValueError(
                f"source_size: expected at least target_size, {self.target_size}, to copy, got {self.source_size}"
            )
        if self.copying and not 0 <= self.unknown < self.target_size:
            raise ValueError(f"unknown: expected a symbol below {self.target_size}, got {self.unknown}")
        hidden_size = _output_size(self.decoder.cell)
        features_size = self.embedding_size if self.tie_embeddings else hidden_size
        self.source_embedding = Embedding(self.source_size, self.embedding_size)
        self.target_embedding = Embedding(self.target_size, self.embedding_size)
        self.bridge = Bridge()
        if self.attention is not None:
            self.attend = Attend(self.attention, query_size=hidden_size)
        if self.attention is not None or self.tie_embeddings:
            self.combine = nn.Dense(features_size, use_bias=False)
        if self.tie_embeddings:
            self.output_bias = self.param("output_bias", nn.initializers.zeros, (self.target_size,), jnp.float32)
        else:
            self.output = nn.Dense(self.target_size)
        if self.copying:
            self.copy_gate = nn.Dense(1)
        self.features_size = features_size

    def __call__(
        self,
        sources: Integer[Array, "*B S"],
        source_lengths: Integer[Array, "*B"],
        inputs: Integer[Array, "*B T"],
        sampling_rate: float | Float[Array, ""] | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "*B T V"], Float[Array, "*B T S"] | None]:
        """Returns the logits of each target symbol, and the attention weights.

        Teacher forcing: the decoder reads `inputs`, the targets shifted right by one step, after a begin symbol.
        Scheduled sampling (Bengio et al. 2015): at each step, with probability `sampling_rate`, the decoder instead
        reads a symbol drawn from its own distribution; no gradient flows through the draw.

        Args:
          sources: source symbols, with any values in the padding.
          source_lengths: number of symbols in each row.
          inputs: input symbols of the decoder at each of `T` steps. Symbols beyond the end of a target are read too,
            but change nothing before it.
          sampling_rate: probability of reading a drawn symbol; draws from the collection "sampling". None disables it.
          deterministic: whether to disable dropout and all else that draws from the collection "dropout".

        Raises:
          ValueError: if encoder and decoder do not match, the decoder is bidirectional, or copying lacks an attention
            or a fitting `source_size` or `unknown`; outside `jit`, for a number that is no symbol. Under `jit`, the
            logits that depend on it are NaN.
        """
        check_symbols("inputs", inputs, self._input_size())
        encoded, state = self.encode(sources, source_lengths, deterministic=deterministic)
        noise = None if deterministic else self._noise(inputs.shape[:-1])
        if sampling_rate is not None:
            logits, reading = self._sample_along(encoded, state, inputs, noise, sampling_rate, deterministic)
        else:
            in_sequence = self.input_feeding or (self.attention is not None and self.attention.recurrent)
            read = self._read_in_sequence if in_sequence else self._read_at_once
            reading = read(encoded, state, inputs, noise, deterministic)
            logits = self._logits(_with_time(encoded.sources), reading)
        return logits, reading.weights

    def encode(
        self, sources: Integer[Array, "*B S"], source_lengths: Integer[Array, "*B"], deterministic: bool = True
    ) -> tuple[Encoded, DecoderState]:
        """Reads the sources; returns the context and the initial state of a search."""
        valid = within(source_lengths, sources.shape[-1])
        check_symbols("sources", sources, self.source_size, valid)
        sources = jnp.where(valid, sources, 0)
        read = sources
        if self.reverse_source:
            steps = jnp.broadcast_to(jnp.arange(sources.shape[-1], dtype=jnp.int32), sources.shape)
            places = jnp.maximum(clip_lengths(source_lengths, sources.shape[-1])[..., None] - 1 - steps, 0)
            read = jnp.take_along_axis(sources, places, axis=-1)
        xs = self.source_embedding(read)
        if not deterministic:
            xs = variational_dropout(self.make_rng("dropout"), xs, self.dropout_rate, time_axis=-2)
        final_states, values = self.encoder(xs, lengths=source_lengths, deterministic=deterministic)
        if self.reverse_source:  # back to the positions of their symbols
            values = jnp.take_along_axis(values, places[..., None], axis=-2)
        batch_shape = sources.shape[:-1]
        input_size = self.embedding_size + (self.features_size if self.input_feeding else 0)
        own_states, _ = self.decoder(jnp.zeros((*batch_shape, 0, input_size), values.dtype))
        memory = alignment = feed = None
        if self.attention is not None:
            memory = self.attend.remember(values, source_lengths)
            alignment = new_alignment(memory)
        if self.input_feeding:
            feed = jnp.zeros((*batch_shape, self.features_size), values.dtype)
        state = DecoderState(self.bridge(final_states, own_states), alignment, feed)
        return Encoded(memory, sources if self.copying else None), state

    def step(
        self, encoded: Encoded, state: DecoderState, token: Int[Array, "*B"]
    ) -> tuple[Float[Array, "*B V"], DecoderState]:
        """Takes one decoding step: reads a symbol and returns the logits of the next symbol and the new state."""
        check_symbols("token", token, self._input_size())
        state, reading = self._read(encoded, state, token, None, deterministic=True)
        return self._logits(encoded.sources, reading), state

    def _read(
        self, encoded: Encoded, state: DecoderState, token: Array, noise: Noise | None, deterministic: bool
    ) -> tuple[DecoderState, Reading]:
        """Takes one step."""
        x = self._embed(token, noise)
        fed = x if state.feed is None else jnp.concatenate([x, state.feed], axis=-1)
        recurrent, hidden = self.decoder.step(state.recurrent, fed, deterministic=deterministic)
        context = weights = alignment = None
        if self.attention is not None:
            assert encoded.memory is not None and state.alignment is not None
            context, weights = self.attend(encoded.memory, state.alignment, hidden)
            alignment = next_alignment(state.alignment, weights)
        reading = self._combine(context, weights, hidden, x, noise)
        return DecoderState(recurrent, alignment, None if state.feed is None else reading.features), reading

    def _read_in_sequence(
        self, encoded: Encoded, state: DecoderState, inputs: Array, noise: Noise | None, deterministic: bool
    ) -> Reading:
        """Takes the steps one after another."""

        def step(model: "Seq2Seq", state: DecoderState, token: Array) -> tuple[DecoderState, Reading]:
            return model._read(encoded, state, token, noise, deterministic)

        _, readings = _scan(step)(self, state, jnp.moveaxis(inputs, -1, 0))
        return _batch_major(readings, inputs.ndim - 1)

    def _read_at_once(
        self, encoded: Encoded, state: DecoderState, inputs: Array, noise: Noise | None, deterministic: bool
    ) -> Reading:
        """Takes all steps at once; only the recurrent layers run step by step."""
        time = inputs.ndim - 1
        xs = self._embed(inputs, None if noise is None else _with_time(noise))
        _, hidden = self.decoder(xs, initial_states=state.recurrent, deterministic=deterministic)
        context = weights = None
        if self.attention is not None:
            memory, alignment = encoded.memory, state.alignment
            assert memory is not None and alignment is not None

            def attend_at(attend: Attend, step: Array, query: Array) -> tuple[Array, Array]:
                position = jnp.broadcast_to(step, alignment.position.shape)
                return attend(memory, alignment._replace(position=position), query)

            attend_all = nn.vmap(
                attend_at,
                in_axes=(0, time),
                out_axes=time,
                variable_axes={"params": None},
                split_rngs={"params": False},
            )
            steps = jnp.arange(inputs.shape[-1], dtype=jnp.int32)
            context, weights = attend_all(self.attend, steps, hidden)
        return self._combine(context, weights, hidden, xs, None if noise is None else _with_time(noise))

    def _sample_along(
        self,
        encoded: Encoded,
        state: DecoderState,
        inputs: Array,
        noise: Noise | None,
        sampling_rate: float | Array,
        deterministic: bool,
    ) -> tuple[Array, Reading]:
        """Takes the steps one after another, reading drawn symbols at some of them."""
        inputs = jnp.moveaxis(inputs, -1, 0)
        coin_key, draw_key = jax.random.split(self.make_rng("sampling"))
        own = jax.random.bernoulli(coin_key, sampling_rate, inputs.shape).at[0].set(False)

        def step(
            model: "Seq2Seq", carry: tuple[DecoderState, Array], xs: tuple[Array, Array, Array]
        ) -> tuple[tuple[DecoderState, Array], tuple[Array, Reading]]:
            (state, drawn), (token, own, key) = carry, xs
            state, reading = model._read(encoded, state, jnp.where(own, drawn, token), noise, deterministic)
            logits = model._logits(encoded.sources, reading)
            return (state, jax.random.categorical(key, logits).astype(token.dtype)), (logits, reading)

        keys = jax.random.split(draw_key, len(inputs))
        _, outputs = _scan(step)(self, (state, inputs[0]), (inputs, own, keys))
        return _batch_major(outputs, inputs.ndim - 1)

    def _input_size(self) -> int:
        """Returns the number of symbols that the decoder can read."""
        return self.source_size if self.copying else self.target_size

    def _embed(self, tokens: Array, noise: Noise | None) -> Array:
        if self.copying:
            only_copied = (tokens >= self.target_size) & (tokens < self.source_size)
            tokens = jnp.where(only_copied, self.unknown, tokens)
        x = self.target_embedding(tokens)
        return x if noise is None else x * noise.embedding

    def _combine(
        self, context: Array | None, weights: Array | None, hidden: Array, x: Array, noise: Noise | None
    ) -> Reading:
        """Computes the features from the decoder's output `hidden` and the attention's `context`."""
        features, copy_logit = hidden, None
        if context is not None:
            features = jnp.concatenate([context, hidden], axis=-1)
            if self.copying:
                copy_logit = self.copy_gate(jnp.concatenate([features, x], axis=-1))[..., 0]
            features = jnp.tanh(self.combine(features))
        elif self.tie_embeddings:
            features = self.combine(features)
        return Reading(features if noise is None else features * noise.features, weights, copy_logit)

    def _logits(self, sources: Array | None, reading: Reading) -> Array:
        if self.tie_embeddings:
            logits = self.target_embedding.attend(reading.features)
            logits += jnp.broadcast_to(self.output_bias, logits.shape)
        else:
            logits = self.output(reading.features)
        if sources is None:
            return logits
        assert reading.weights is not None and reading.copy_logit is not None
        return with_copies(logits, reading.weights, reading.copy_logit, sources, self.source_size)

    def _noise(self, batch_shape: tuple[int, ...]) -> Noise:
        def mask(size: int) -> Array:
            ones = jnp.ones((*batch_shape, 1, size))
            return variational_dropout(self.make_rng("dropout"), ones, self.dropout_rate, time_axis=-2)[..., 0, :]

        return Noise(mask(self.embedding_size), mask(self.features_size))


class Bridge(nn.Module):
    """Computes the decoder's initial states from the encoder's final states, layer by layer."""

    @nn.compact
    def __call__(self, encoder_states: tuple[Any, ...], like: tuple[State, ...]) -> tuple[State, ...]:
        """Passes on states with the structure and shapes of `like`; otherwise maps a layer's state to each leaf."""
        return tuple(self._layer(i, *pair) for i, pair in enumerate(zip(encoder_states, like, strict=True)))

    def _layer(self, layer: int, encoder_state: Any, like: State) -> State:
        # compares the structures too, because (h, c) == LSTMState(h, c)
        same_structure = jax.tree.structure(encoder_state) == jax.tree.structure(like)  # type: ignore[operator]
        if same_structure and jax.tree.map(jnp.shape, encoder_state) == jax.tree.map(jnp.shape, like):
            return encoder_state
        features = jnp.concatenate(jax.tree.leaves(encoder_state), axis=-1)
        leaves, structure = jax.tree.flatten(like)
        names = [f"layer_{layer}_{part}" for part in range(len(leaves))]
        mapped = [nn.tanh(nn.Dense(x.shape[-1], name=name)(features)) for x, name in zip(leaves, names, strict=True)]
        return jax.tree.unflatten(structure, mapped)


def _output_size(cell: Cell) -> int:
    params = jax.eval_shape(lambda key: cell.init(key, input_size=1), jax.random.key(0))
    x = jax.ShapeDtypeStruct((1,), jnp.float32)
    _, y = jax.eval_shape(lambda params, x: cell.step(params, cell.initial_state(params), x), params, x)
    return y.shape[-1]


def _scan(step: Callable) -> Callable:
    """Scans a step of a module with the same parameters and dropout masks at every step."""
    return nn.scan(step, variable_broadcast="params", split_rngs={"params": False, "dropout": False})


def _with_time(tree: Any) -> Any:
    """Adds a time axis of one step: [*B, F] becomes [*B, 1, F]."""
    return jax.tree.map(lambda leaf: leaf[..., None, :], tree)


def _batch_major(tree: Any, time: int) -> Any:
    """Moves the time axis, which is first after a scan, behind the batch axes."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, time), tree)
