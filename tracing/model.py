"""A language model that can be read and changed under TransformerLens' hook names."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from results import InputError
from tracing import execute
from tracing.cache import Cache
from tracing.execute import Finish, Hooked, HookFunction
from tracing.families import Family
from tracing.hook_map import HookMap, HookName, Variant
from tracing.masks import Removed
from tracing.provenance import fingerprint, state
from tracing.sizes import Sizes
from tracing.visits import Keep, Pass, Select

if TYPE_CHECKING:
    from tracing.server import Server
    from tracing.streaming import Streaming


class Model:
    """A model, its tokenizer, its sizes and its hook map; made by `load_model`.

    Attributes:
        name: What the model is called in results and reports.
        revision: The Hub's commit, where the model came from there.
        hf: The transformers model underneath.
        nnsight: The same model as nnsight sees it, for whatever is not offered here.
        tokenizer: Its tokenizer, or None.
        sizes: How large it is.
        family: Where its architecture keeps its parts.
        variant: How it differs from others of its family.
        hooks: Every hook name, and where its value is.
        removed: Parts that are removed at present; see `masked`.
        pruned: Parts that were taken out of the weights for good; see `tracing.pruned`. `sizes` are the whole model's.
        server: Where it runs, if that is not here; the weights are there, and those here have shapes only.
        stream: What reads its blocks from disk when they are run, if they are not in memory.
    """

    def __init__(
        self,
        hf: Any,
        nnsight: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str | None,
        family: Family,
        variant: Variant,
        hooks: HookMap,
        pruned: Removed | None = None,
    ) -> None:
        self.hf, self.nnsight, self.tokenizer = hf, nnsight, tokenizer
        self.name, self.revision = name, revision
        self.family, self.variant, self.hooks = family, variant, hooks
        self.sizes = Sizes.of(hf.config)
        self.removed: Removed | None = None
        self.pruned = pruned
        self.server: Server | None = None
        self.stream: Streaming | None = None
        self._envoys: dict[str, Any] = {}
        self._fingerprint: tuple[Any, str] | None = None

    def __repr__(self) -> str:
        s = self.sizes
        sizes = f"{s.n_layers} layers, {s.n_heads} heads, d_model {s.d_model}"
        if self.pruned is not None:
            sizes += f", pruned of {int(self.pruned.heads.sum())} heads and {int(self.pruned.ffns.sum())} FFNs"
        return f"Model({self.name!r}: {sizes}, {self.dtype}, {self.device})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Model":
        from tracing.load import load_model  # which needs this module

        # nnsight's view of a model cannot be copied; it is made anew around the copy.
        made = load_model(copy.deepcopy(self.hf, memo), tokenizer=self.tokenizer)
        made.name, made.revision, made.removed = self.name, self.revision, self.removed
        return made

    @property
    def device(self) -> torch.device:
        """Where tokens go in; for a model on a server, the CPU, from which they are sent."""
        if self.server is not None:
            return torch.device("cpu")
        return torch.device(self.hf.get_input_embeddings().weight.device)

    @property
    def in_memory(self) -> bool:
        """Whether its weights are here and stay here: neither on a server nor streamed from disk."""
        return self.server is None and self.stream is None

    @property
    def runs_on(self) -> str:
        """The kind of device that computes, such as `cpu` or `cuda`; or `server`."""
        return "server" if self.server is not None else self.device.type

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number format."""
        dtype: torch.dtype = next(iter(self.hf.parameters())).dtype
        return dtype

    @property
    def bos(self) -> int | None:
        """The token that begins a sequence, if the tokenizer (or, without one, the configuration) has one."""
        source = self.hf.config if self.tokenizer is None else self.tokenizer
        token = getattr(source, "bos_token_id", None)
        return int(token) if isinstance(token, int) and 0 <= token < self.sizes.vocab else None

    def fingerprint(self) -> str:
        """A digest of the weights; taken again only when they changed (see `tracing.provenance.state`)."""
        if (elsewhere := self.server or self.stream) is not None:
            return elsewhere.fingerprint
        now = state(self.hf)
        if self._fingerprint is None or self._fingerprint[0] != now:
            self._fingerprint = (now, fingerprint(self.hf))
        return self._fingerprint[1]

    def envoy(self, path: str) -> Any:
        """The nnsight envoy of a module."""
        if path not in self._envoys:
            envoy = self.nnsight
            for part in path.split("."):
                envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
            self._envoys[path] = envoy
        return self._envoys[path]

    def run_on(self, server: "Server", nnsight: Any) -> None:
        """Run on a server from now on; `nnsight` is the model as the server is told of it."""
        self.server, self.nnsight = server, nnsight
        self._envoys.clear()

    def __call__(self, tokens: Int[Tensor, "batch pos"] | str) -> Float[Tensor, "batch pos vocab"]:
        """The logits, without the parts that are removed at present."""
        return self.run_with_hooks(tokens)

    def to_tokens(self, text: str | Sequence[str], prepend_bos: bool | None = None) -> Int[Tensor, "batch pos"]:
        """Text as tokens.

        Args:
            text: One text, or several that have equally many tokens.
            prepend_bos: Whether the sequence begins with the BOS token; None does what the tokenizer does by default.

        Raises:
            InputError: There is no tokenizer or no BOS token, these are no texts, or no valid ones, or they differ in
                length.
        """
        tokenizer = self._need_tokenizer()
        if not _is_text(text):
            raise InputError(f"expected a text, or a list of texts, got {text!r:.80}")
        rows = [text] if isinstance(text, str) else list(text)
        for row in rows:
            if any("\ud800" <= letter <= "\udfff" for letter in row):  # what tokenizers cannot write in UTF-8
                raise InputError(f"expected a text of valid Unicode, got half of a surrogate pair in {row!a:.80}")
        encoded = [tokenizer.encode(row, add_special_tokens=prepend_bos is None) for row in rows]
        if prepend_bos:
            if self.bos is None:
                raise InputError(f"{self.name} has no BOS token: leave prepend_bos out")
            encoded = [[self.bos, *row] for row in encoded]
        if len({len(row) for row in encoded}) > 1 or not all(encoded):
            raise InputError(
                f"texts must have equally many tokens, at least one; these have {[len(r) for r in encoded]}"
            )
        return torch.tensor(encoded, device=self.device)

    def to_str_tokens(self, tokens: str | Int[Tensor, " pos"] | Int[Tensor, "1 pos"]) -> list[str]:
        """One sequence's tokens as text, token by token."""
        ids = self._ids(self.to_tokens(tokens) if isinstance(tokens, str) else tokens)
        if (ids.dim() == 2 and len(ids) != 1) or ids.dim() not in (1, 2):
            raise InputError(f"expected one sequence of tokens, not a tensor of shape {list(ids.shape)}")
        return [self._need_tokenizer().decode([token]) for token in ids.flatten().tolist()]

    def run_with_hooks(
        self,
        tokens: Int[Tensor, "batch pos"] | str,
        fwd_hooks: Sequence[tuple[HookName, Callable[..., Any]]] = (),
    ) -> Float[Tensor, "batch pos vocab"]:
        """The logits of a forward pass in which hooks read and replace values.

        Args:
            tokens: Tokens, or a text.
            fwd_hooks: (name, function) pairs; the name may be a predicate on names. `function(value, hook)` returns
                None to leave the value, or a tensor of its shape to put in its place.

        Raises:
            InputError: A name is unknown, tokens do not fit the model, or a hook returns another shape.
        """
        return self.run_passes([self.pass_with(tokens, fwd_hooks)])[0]

    def run_passes(self, passes: Sequence[Pass], progress: Callable[[float], Any] | None = None) -> list[Any]:
        """Run some passes, and return the result of each.

        On a server all of them are one request; where weights are streamed, they are read once for all of them.

        Args:
            passes: From `pass_with`, `pass_at` and `pass_until_last`; hooks of later ones may use what hooks of earlier
                ones kept.
            progress: Told the share that is done, where weights are streamed.
        """
        return execute.run_all(self, passes, progress)

    def pass_with(
        self,
        tokens: Int[Tensor, "batch pos"] | str,
        fwd_hooks: Sequence[tuple[HookName, HookFunction]] = (),
        finish: Finish | None = None,
    ) -> Pass:
        """A forward pass for `run_passes`.

        Args:
            tokens: As in `run_with_hooks`.
            fwd_hooks: As there.
            finish: What makes the pass's result of the logits, where the model is; the logits themselves if None.

        Raises:
            InputError: As `run_with_hooks`.
        """
        return execute.make_pass(self.check_tokens(tokens), self._all_hooks(fwd_hooks), finish)

    def logits_at(
        self,
        tokens: Int[Tensor, "batch pos"],
        row: Int[Tensor, " place"],
        pos: Int[Tensor, " place"],
        fwd_hooks: Sequence[tuple[HookName, HookFunction]] = (),
        *,
        positions: Int[Tensor, "batch pos"] | None = None,
        seen: Bool[Tensor, "batch query key"] | None = None,
    ) -> Float[Tensor, "place vocab"]:
        """The logits at some places: what `pass_at` makes, run at once."""
        return self.run_passes([self.pass_at(tokens, row, pos, fwd_hooks, positions=positions, seen=seen)])[0]

    def pass_at(
        self,
        tokens: Int[Tensor, "batch pos"],
        row: Int[Tensor, " place"],
        pos: Int[Tensor, " place"],
        fwd_hooks: Sequence[tuple[HookName, HookFunction]] = (),
        finish: Finish | None = None,
        *,
        positions: Int[Tensor, "batch pos"] | None = None,
        seen: Bool[Tensor, "batch query key"] | None = None,
    ) -> Pass:
        """A pass for the logits at some places: the unembedding, which costs most in small models, works on no others.

        Args:
            tokens: Tokens.
            row: The sequence of each place.
            pos: Its index in the sequence.
            fwd_hooks: As in `run_with_hooks`.
            finish: As in `pass_with`.
            positions: Each token's position, where that is not its index.
            seen: Which tokens each token attends to, where that is not all up to itself; needs `positions`.

        Raises:
            InputError: As `run_with_hooks`.
        """
        ids = self.check_tokens(tokens, None if positions is None else int(positions.max()) + 1)
        inputs: dict[str, Tensor] = {}
        if seen is not None and positions is not None:
            inputs = {"seen": seen.to(self.device), "position_ids": positions.to(self.device)}
        hooks = self._all_hooks([*fwd_hooks, ("unembed.select", Select(row, pos))])
        return execute.make_pass(ids, hooks, finish, inputs=inputs)

    def run_until_last(self, tokens: Int[Tensor, "batch pos"], fwd_hooks: Sequence[tuple[str, HookFunction]]) -> None:
        """Run what `pass_until_last` makes, at once."""
        self.run_passes([self.pass_until_last(tokens, fwd_hooks)])

    def pass_until_last(self, tokens: Int[Tensor, "batch pos"], fwd_hooks: Sequence[tuple[str, HookFunction]]) -> Pass:
        """A pass for its hooks alone, without gradients; it ends after the last of them."""
        ids = self.check_tokens(tokens)
        with torch.no_grad():
            return execute.make_pass(ids, self._all_hooks(fwd_hooks), only_hooks=True)

    def run_with_cache(
        self,
        tokens: Int[Tensor, "batch pos"] | str,
        names: HookName | Iterable[HookName] | None = None,
        *,
        names_filter: HookName | Iterable[HookName] | None = None,
    ) -> tuple[Float[Tensor, "batch pos vocab"], Cache]:
        """The logits, and activations by hook name; both are plain numbers, without gradients.

        Args:
            tokens: Tokens, or a text.
            names: One name, several, or a predicate on names; None caches everything.
            names_filter: The same, under TransformerLens' name for it.

        Raises:
            InputError: A name is unknown, or tokens do not fit the model.
        """
        keepers = {site.name: Keep() for site in self.hooks.find(names if names is not None else names_filter)}
        with torch.no_grad():
            logits = self.run_with_hooks(tokens, list(keepers.items()))
        return logits, Cache({name: keep.kept[0] for name, keep in keepers.items()}, self.sizes.n_layers)

    def check_tokens(
        self, tokens: Int[Tensor, "batch pos"] | str, longest: int | None = None
    ) -> Int[Tensor, "batch pos"]:
        """Tokens as the model takes them, on its device; `longest` is how many follow one another, if not all do.

        Raises:
            InputError: Wrong rank or dtype, a token beyond the vocabulary, or too long a sequence.
        """
        ids = self._ids(self.to_tokens(tokens) if _is_text(tokens) else tokens)
        if ids.dim() != 2 or ids.numel() == 0:
            raise InputError(f"tokens must have shape [batch, pos], not {list(ids.shape)}")
        if (length := longest or ids.shape[1]) > self.sizes.context:
            raise InputError(f"{length} tokens do not fit into {self.name}'s context of {self.sizes.context}")
        return ids.to(self.device)

    def _ids(self, tokens: Any) -> Int[Tensor, "..."]:
        """Tokens of any shape, each one of the vocabulary."""
        ids = _tensor(tokens)
        if ids.numel() and (ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool):
            raise InputError(f"tokens must be whole numbers, not {ids.dtype}")
        ids = ids.long()
        if not ids.is_meta and (outside := ids[(ids < 0) | (ids >= self.sizes.vocab)]).numel():
            raise InputError(
                f"token {int(outside[0])} is outside {self.name}'s vocabulary of {self.sizes.vocab} tokens"
            )
        return ids

    def _all_hooks(self, asked: Sequence[tuple[HookName, HookFunction]]) -> list[Hooked]:
        """The hooks asked for, behind those that remove parts; inside of what is skipped nothing can be removed."""
        hooked = self._hooked(asked)
        skipped = tuple(f"{site.module}." for site, _ in hooked if site.port == "skip")
        removals = [] if self.removed is None else self.removed.hooks(self.hooks)
        return [hook for hook in removals if not hook[0].module.startswith(skipped)] + hooked

    def _hooked(self, hooks: Sequence[tuple[HookName, HookFunction]]) -> list[Hooked]:
        for hook in hooks:
            if not isinstance(hook, tuple | list) or len(hook) != 2 or not callable(hook[1]):
                raise InputError(f"fwd_hooks must be a list of pairs (hook name, function), in which {hook!r} is none")
        return [(site, function) for name, function in hooks for site in self.hooks.find([name])]

    def _need_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise InputError(f"{self.name} was loaded without a tokenizer: pass tokens, or load_model(..., tokenizer=)")
        return self.tokenizer


def _is_text(tokens: Any) -> TypeGuard[str | Sequence[str]]:
    return isinstance(tokens, str) or (
        isinstance(tokens, list | tuple) and len(tokens) > 0 and all(isinstance(row, str) for row in tokens)
    )


def _tensor(tokens: Any) -> Tensor:
    try:
        return torch.as_tensor(tokens)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "tokens must be a tensor of whole numbers [batch, pos], or a text; from a tokenizer, pass "
            f'encoding["input_ids"]. What came is {type(tokens).__name__}: {error}'
        ) from error
