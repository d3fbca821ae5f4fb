"""A model that llama.cpp has loaded, behind the lane's protocol; the bindings come as `api`."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from ..._data.requests import Generation
from ..._data.specs import LaneSpec, ModelSpec
from ..._system.threads import call_on_stack
from ..engine_protocol import EngineFault, EngineInfo
from ..prompt.text_size import SHORT_TEXT, check_stretches, stack_for
from ..tokenizer import FillInTokens
from .context_params import Use, context_params
from .growing_context import GrowingContext
from .llama_context import LlamaContext
from .llama_sampler import Candidates, LlamaSampler
from .sampler_chains import SamplerChains

if TYPE_CHECKING:
    import numpy
    import numpy.typing

# Rows of a prompt whose logits are computed in one decode, and the bytes of these. llama.cpp takes memory for them
# when a context is made, whether they are used or not.
_SCORE_ROWS = 64
_SCORE_BYTES = 16 * 2**20


class LlamaEngine:
    """A loaded GGUF model (`engine_protocol.Engine`).

    Args:
        api: the bindings.
        model: what they loaded.
        spec: which model that is.
        lane: how its lanes run.
        adapters: the model's LoRA adapters, with the scale of each.
        computing: called before a context is made, which will compute.
        release: gives the model back, once.
    """

    def __init__(
        self,
        api: Any,
        model: Any,
        spec: ModelSpec,
        lane: LaneSpec,
        *,
        adapters: Sequence[tuple[Any, float]] = (),
        computing: Callable[[], None],
        release: Callable[[], None],
    ) -> None:
        self._api = api
        self._model = model
        self._spec = spec
        self._lane = lane
        self._adapters = adapters
        self._computing = computing
        self._release: Callable[[], None] | None = release
        self._vocab = api.llama_model_get_vocab(model)
        self._pieces: dict[int, bytes] = {}
        self._info = self._read_info()
        self._candidates = Candidates(api, self._info.n_vocab)
        self._chains = SamplerChains(api, model, lane.n_ctx)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def _read_info(self) -> EngineInfo:
        api, vocab = self._api, self._vocab
        n_vocab = int(api.llama_vocab_n_tokens(vocab))
        attributes = [api.llama_vocab_get_attr(vocab, token) for token in range(n_vocab)]
        control = api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_UNKNOWN
        template = self._spec.chat_template
        if template is None:
            found = api.llama_model_chat_template(self._model, None)
            template = found.decode(errors="replace") if found else None
        return EngineInfo(
            n_vocab=n_vocab,
            n_ctx_train=int(api.llama_model_n_ctx_train(self._model)),
            n_positions=self._spec.n_positions,
            generates=self._spec.generates,
            causal=self._spec.causal,
            pooling=self._spec.pooling,
            kv_reuse=not (
                api.llama_model_is_recurrent(self._model)
                or api.llama_model_is_hybrid(self._model)
                or api.llama_model_n_swa(self._model) > 0
            ),
            chat_template=template,
            named_templates=self._named_templates(),
            template_variables=self._spec.chat_template_kwargs or {},
            control=self._spellings(attributes, control),
            control_ids=frozenset(token for token, found in enumerate(attributes) if found & control),
            markers=self._spellings(attributes, api.LLAMA_TOKEN_ATTR_USER_DEFINED),
            bos=self._spelling(api.llama_vocab_bos(vocab)),
            eos=self._spelling(api.llama_vocab_eos(vocab)),
            fill_in=self._fill_in(),
            width=int(api.llama_model_n_embd_out(self._model)),
            ranking=self._spec.ranking,
            pair=self._pair(),
            query_prefix=self._spec.query_prefix,
            document_prefix=self._spec.document_prefix,
        )

    def _pair(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """What llama.cpp's server puts before, between and after a query and a document."""
        api, vocab = self._api, self._vocab
        sep = int(api.llama_vocab_sep(vocab))
        eos = int(api.llama_vocab_eos(vocab))
        bos = (int(api.llama_vocab_bos(vocab)),) if api.llama_vocab_get_add_bos(vocab) else ()
        end = (sep if eos < 0 else eos,) if api.llama_vocab_get_add_eos(vocab) else ()
        between = (*end, sep) if api.llama_vocab_get_add_sep(vocab) else end
        return bos, between, end

    def _fill_in(self) -> FillInTokens | None:
        api, vocab = self._api, self._vocab
        names = api.llama_vocab_fim_pre, api.llama_vocab_fim_suf, api.llama_vocab_fim_mid
        found = FillInTokens(*[int(name(vocab)) for name in names])
        return found if min(found) >= 0 else None

    def _named_templates(self) -> dict[str, str]:
        # A host's own template is used for every chat.
        chats = () if self._spec.chat_template is not None else ("tool_use", "rag")
        found = {
            name: self._api.llama_model_chat_template(self._model, name.encode())
            for name in (*chats, "rerank")
        }
        named = {name: text.decode(errors="replace") for name, text in found.items() if text}
        own = self._spec.rerank_template
        return named if own is None else {**named, "rerank": own}

    def _spellings(self, attributes: list[int], wanted: int) -> tuple[str, ...]:
        texts = (self._spelling(token) for token, found in enumerate(attributes) if found & wanted)
        return tuple(text for text in texts if text.strip())

    def _spelling(self, token: int) -> str:
        if token < 0:
            return ""
        return (self._api.llama_vocab_get_text(self._vocab, token) or b"").decode(errors="replace")

    @property
    def token_bytes(self) -> int | None:
        return self._token_bytes

    @cached_property
    def _token_bytes(self) -> int | None:
        api, vocab = self._api, self._vocab
        whole = (api.LLAMA_VOCAB_TYPE_SPM, api.LLAMA_VOCAB_TYPE_BPE, api.LLAMA_VOCAB_TYPE_RWKV)
        if api.llama_vocab_type(vocab) not in whole:
            return None
        # What does not fit a buffer of no bytes is told by its length, below zero.
        buffer = ctypes.create_string_buffer(1)
        pieces = (
            -int(api.llama_token_to_piece(vocab, n, buffer, 0, 0, True)) for n in range(self._info.n_vocab)
        )
        return max(1, max(pieces, default=1))

    @property
    def pre_tokenizer(self) -> str:
        buffer = ctypes.create_string_buffer(64)
        n = self._api.llama_model_meta_val_str(self._model, b"tokenizer.ggml.pre", buffer, len(buffer))
        return buffer.value.decode(errors="replace") if n > 0 else ""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        tokenize = partial(self._tokenize, text, add_special, parse_special)
        if len(text) <= SHORT_TEXT or not self._cuts_by_regex:
            return tokenize()
        check_stretches("prompt", text, self.pre_tokenizer)
        stack = stack_for(text)
        try:
            return call_on_stack(tokenize, stack, "tokenize")
        except RuntimeError as error:
            raise EngineFault(
                f"there is no memory for a stack of {stack} bytes to tokenize {len(text)} characters on ({error})"
            ) from error

    @cached_property
    def _cuts_by_regex(self) -> bool:
        return bool(self._api.llama_vocab_type(self._vocab) == self._api.LLAMA_VOCAB_TYPE_BPE)

    def _tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            n = self._api.llama_tokenize(
                self._vocab, data, len(data), tokens, room, add_special, parse_special
            )
            if n >= 0:
                return tokens[:n]
            if -n <= room:
                raise EngineFault(f"the text of {len(data)} bytes is too long to tokenize")
            room = -n

    def piece(self, token: int) -> bytes:
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token, 64)
        return found

    def _read_piece(self, token: int, room: int) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        n = self._api.llama_token_to_piece(self._vocab, token, buffer, room, 0, False)
        return buffer.raw[:n] if n >= 0 else self._read_piece(token, -n)

    def spelling(self, token: int) -> str:
        return self._spelling(token) if token in self._info.control_ids else ""

    def detokenize(self, tokens: Sequence[int], *, special: bool) -> bytes:
        if self._cuts_by_regex:
            # llama.cpp would take off spaces before punctuation there, as if the text had had none.
            spelled = self.spelling if special else lambda _: ""
            return b"".join(self.piece(token) or spelled(token).encode() for token in tokens)
        if not special:
            # llama.cpp takes off the space before a text only where the text comes first.
            hidden = self._info.control_ids
            tokens = [token for token in tokens if token not in hidden]
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        room = 8 * len(tokens) + 8
        while True:
            buffer = ctypes.create_string_buffer(room)
            n = self._api.llama_detokenize(self._vocab, ids, len(tokens), buffer, room, False, special)
            if n >= 0:
                return buffer.raw[:n]
            room = -n

    def is_end(self, token: int) -> bool:
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    @property
    def end_ids(self) -> frozenset[int]:
        return self._end_ids

    @cached_property
    def _end_array(self) -> numpy.typing.NDArray[numpy.int32]:
        import numpy

        return numpy.array(sorted(self._end_ids), "i4")

    @cached_property
    def _end_ids(self) -> frozenset[int]:
        return frozenset(filter(self.is_end, range(self._info.n_vocab)))

    def sampler(self, request: Generation, seed: int) -> LlamaSampler:
        sampling = self._spec.sampling.of(request)
        chain = self._chains.chain(sampling, cast("Mapping[int, float]", request.logit_bias or {}), seed)
        least = sys.maxsize if request.ignore_eos else request.min_tokens
        ends = self._end_array if least else None
        return LlamaSampler(self._api, chain, self._candidates, ends, least)

    def context(self, lane: LaneSpec) -> GrowingContext:
        width = int(self._api.llama_model_n_embd(self._model))
        return GrowingContext(self.rectangle, lane, width, self._score_rows)

    @property
    def _score_rows(self) -> int:
        return max(1, min(_SCORE_ROWS, _SCORE_BYTES // (4 * self._info.n_vocab)))

    def embedding_context(self, *, n_seq: int, n_ctx: int) -> LlamaContext:
        return self.rectangle(n_seq, n_ctx, use="embed")

    def rank_context(self, *, n_seq: int, n_ctx: int) -> LlamaContext:
        return self.rectangle(n_seq, n_ctx, use="judge" if self._spec.ranking == "judge" else "rank")

    def rectangle(self, n_seq: int, n_ctx: int, *, use: Use = "generate") -> LlamaContext:
        """A context of llama.cpp for `n_seq` sequences of `n_ctx` tokens; for texts, of `n_ctx` tokens in all.

        Raises:
            ModelError: there is no memory for it.
        """
        self._computing()
        rows = n_seq + self._score_rows
        params = context_params(self._api, self._spec, self._lane, n_seq, n_ctx, use=use, rows=rows)
        return LlamaContext(self._api, self._model, params, self._adapters)

    def close(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            self._chains.close()
            release()
