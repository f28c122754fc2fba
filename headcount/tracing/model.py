"""A language model whose activations are read and changed under TransformerLens' hook names."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import Anatomy, check_rotary, empty_copy
from headcount.tracing.architectures.families import Family
from headcount.tracing.cache import Cache
from headcount.tracing.fingerprint import fingerprint, weights_state
from headcount.tracing.hooks import execution
from headcount.tracing.hooks.ablation_hooks import lost_hooks, plan_ablated
from headcount.tracing.hooks.execution import PlacedHook
from headcount.tracing.hooks.hook import Finish, HookFunction, RecordValue, SelectPositions
from headcount.tracing.hooks.hook_map import HookName, build_hook_map
from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.hooks.ports import find_envoy
from headcount.tracing.hooks.protocol import RemoteExecutor, StreamingExecutor
from headcount.tracing.present import Change, changed, present_changes, present_hooks, present_removals
from headcount.tracing.removed_parts import Removed, pruned_parts
from headcount.tracing.text.text_model import TextModel
from headcount.tracing.text.texts import is_text
from headcount.tracing.text.token_ids import (
    check_no_padding,
    check_sides,
    next_token_loss,
    padding_inputs,
    read_mask,
    split_encoding,
)
from headcount.tracing.wrapping import check_readable, take_limits, wrap_for_nnsight

Tokens = Int[Tensor, "batch pos"] | str | Any
"""Tokens [batch, pos], a text, or a tokenizer's whole encoding."""

ReturnType = Literal["logits", "loss"]


class Model(TextModel):
    """A model, its tokenizer, its sizes and its hook map; `load_model` returns one.

    Attributes:
        name: The model's name in results and reports.
        revision: The Hub's commit, if the model came from there.
        hf: The transformers model underneath.
        nnsight: The nnsight model of it, for everything that this class does not offer.
        tokenizer: Its tokenizer, or None.
        sizes: The sizes of the whole model.
        family, variant: The paths of its modules, and its differences from its family's common layout.
        anatomy: Its parts, the three above among them, and the paths in each block.
        derived: True if its type is not described, and its parts were found by running it.
        reads_embedding: True if block 0 reads the embedding, or a multiple of it, as the check at load found.
        shares_rows, padding: True if requests that begin alike may share a row; the sides that may be padded, likewise.
        hooks: Every hook name, and the place of its value.
        pruned: Parts that were taken out of the weights; see `hc.pruned`. `sizes` are the whole model's.
        server: The server that runs it, if one does; the weights are there, and here they have shapes only.
        stream: The runner that reads its blocks from disk, if the weights are there.
        own_hooks: The number of torch's forward hooks on its modules when it was opened.
    """

    def __init__(
        self,
        hf: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str | None = None,
        nnsight_model: Any = None,
        anatomy: Anatomy | None = None,
    ) -> None:
        """Wrap a transformers model; nothing is run yet.

        Args:
            hf: The transformers model; put in evaluation mode.
            tokenizer: Its tokenizer, or None.
            name: The model's name in results.
            revision: The Hub's commit.
            nnsight_model: The nnsight model of it, if there is one.
            anatomy: The parts of the whole model, if they are known.

        Raises:
            InputError: The architecture is not supported, there is no unembedding, or some weights are not in memory.
        """
        check_rotary(hf.config)
        check_readable(hf)
        self.pruned = pruned_parts(hf)
        anatomy = anatomy or Anatomy.of(hf if self.pruned is None else empty_copy(hf))
        hf.eval()
        unembed = next(name for name, module in hf.named_modules() if module is hf.get_output_embeddings())
        self.hooks = build_hook_map(anatomy, unembed)
        if self.pruned is not None:
            self.hooks = self.hooks.without(lost_hooks(self.hooks, anatomy, self.pruned))
        self.nnsight = wrap_for_nnsight(hf, tokenizer) if nnsight_model is None else nnsight_model
        self.hooks.in_block = self._in_block
        self.hf, self.tokenizer, self.name, self.revision = hf, tokenizer, name, revision
        self.family, self.variant, self.sizes = anatomy.family, anatomy.variant, anatomy.sizes
        self.derived, self.anatomy = anatomy.derived, anatomy
        self.shares_rows, self.reads_embedding, self.padding = True, True, {"left", "right"}
        self.server: RemoteExecutor | None = None
        self.stream: StreamingExecutor | None = None
        self.own_hooks = execution.foreign_hooks(hf)
        self._envoys: dict[str, Any] = {}
        self._fingerprint: tuple[Any, str] | None = None

    def __repr__(self) -> str:
        s = self.sizes
        sizes = f"{s.n_layers} layers, {s.n_heads} heads, d_model {s.d_model}"
        if self.pruned is not None:
            sizes += f", pruned of {int(self.pruned.heads.sum())} heads and {int(self.pruned.ffns.sum())} FFNs"
        return f"Model({self.name!r}: {sizes}, {self.dtype}, {self.device})"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self.name} cannot be pickled or copied as it is, since it is bound to nnsight: send its name, and "
            "load_model(name) there; copy.deepcopy makes a copy here"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Model":
        if self.changed:
            raise InputError(f"a copy of {self.name} would be whole and without hooks: copy it outside of the block")
        # An nnsight model cannot be copied: the copy gets a new one.
        copied = Model(copy.deepcopy(self.hf, memo), self.tokenizer, name=self.name, anatomy=self.anatomy)
        copied.revision = self.revision
        take_limits(copied, self)
        return copied

    @property
    def removed(self) -> Removed | None:
        """Parts that are removed at present, in this thread; see `masked`."""
        return present_removals(self)

    @property
    def changed(self) -> bool:
        """True if parts are removed at present, in this thread, or hooks are called in every run; see `hooks`."""
        return self.removed is not None or bool(present_hooks(self))

    @property
    def device(self) -> torch.device:
        """The device of the token embedding; for a model on a server the CPU, from which tokens are sent."""
        if self.server is not None:
            return torch.device("cpu")
        return torch.device(self.hf.get_input_embeddings().weight.device)

    @property
    def in_memory(self) -> bool:
        """True if the weights are here and stay here: neither on a server nor streamed from disk."""
        return self.server is None and self.stream is None

    @property
    def runs_on(self) -> str:
        """The kind of device that computes, such as `cpu` or `cuda`; or `server`."""
        return "server" if self.server is not None else self.device.type

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        dtype: torch.dtype = next(iter(self.hf.parameters())).dtype
        return dtype

    def fingerprint(self) -> str:
        """Return a digest of the weights; it is taken again only when they changed (see `weights_state`)."""
        if (elsewhere := self.server or self.stream) is not None:
            return elsewhere.fingerprint
        state = weights_state(self.hf)
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, fingerprint(self.hf))
        return self._fingerprint[1]

    def envoy(self, path: str) -> Any:
        """Return the nnsight envoy of a module."""
        if path not in self._envoys:
            self._envoys[path] = find_envoy(self.nnsight, path)
        return self._envoys[path]

    def block(self, layer: int) -> nn.Module:
        """Return a block with its weights."""
        if self.stream is not None:
            return self.stream.block(layer)
        block: nn.Module = self.hf.get_submodule(f"{self.family.layers}.{layer}")
        return block

    def paths(self, layer: int) -> Family:
        """Return the family with the paths of the modules in a block."""
        return self.anatomy.block(layer)

    @property
    def layers_with_heads(self) -> list[int]:
        """The layers that have attention heads: in hybrid models not all."""
        return self.anatomy.layers_with_heads()

    def run_on(self, server: RemoteExecutor, nnsight_model: Any) -> None:
        """Run on a server from now on; `nnsight_model` is the nnsight model that requests refer to."""
        self.server, self.nnsight = server, nnsight_model
        self._envoys.clear()

    def __call__(
        self, tokens: Tokens, *, attention_mask: Any = None, return_type: ReturnType = "logits"
    ) -> Float[Tensor, "batch pos vocab"]:
        """Return the logits, without the parts that are removed at present; see `run_with_hooks` for the arguments."""
        return self.run_with_hooks(tokens, attention_mask=attention_mask, return_type=return_type)

    def run_with_hooks(
        self,
        tokens: Tokens,
        fwd_hooks: Sequence[tuple[HookName, Callable[..., Any]]] = (),
        *,
        attention_mask: Any = None,
        return_type: ReturnType = "logits",
    ) -> Float[Tensor, "batch pos vocab"]:
        """Return the logits of a forward pass in which hooks read and replace values.

        Args:
            tokens: Tokens, a text, or a tokenizer's whole encoding.
            fwd_hooks: (name, function) pairs; the name may be a predicate on names. `function(value, hook)` returns
                None to leave the value, or a tensor of its shape to put in its place.
            attention_mask: 1 for each token and 0 for padding before or after a row's tokens, whose logits are then
                those of the row alone. What comes out at padding means nothing.
            return_type: `"logits"`, or `"loss"`: the mean cross-entropy of each next token in nats, padding left out.

        Raises:
            InputError: A name is unknown, tokens do not fit the model, a batch is padded and has no mask, or a hook
                returns another shape.
        """
        if return_type not in get_args(ReturnType):
            raise InputError(f"return_type must be logits or loss, not {return_type!r}")
        ids, mask = self._read(tokens, attention_mask)
        inputs = padding_inputs(mask)
        logits: Tensor = self.run_passes([self._plan(ids, fwd_hooks, real=mask, inputs=inputs)])[0]
        return logits if return_type == "logits" else next_token_loss(logits, ids, mask)

    def run_with_cache(
        self,
        tokens: Tokens,
        names: HookName | Iterable[HookName] | None = None,
        *,
        names_filter: HookName | Iterable[HookName] | None = None,
        fwd_hooks: Sequence[tuple[HookName, Callable[..., Any]]] = (),
        attention_mask: Any = None,
        return_type: ReturnType = "logits",
    ) -> tuple[Float[Tensor, "batch pos vocab"], Cache]:
        """Return the logits, and activations by hook name; both are plain numbers, without gradients.

        Args:
            tokens: Tokens, a text, or a tokenizer's whole encoding.
            names: One name, several, or a predicate on names; None caches all but single experts' outputs.
            names_filter: The same, under TransformerLens' name for it.
            fwd_hooks: Hooks as for `run_with_hooks`; the cache has the values that they leave.
            attention_mask: As for `run_with_hooks`.
            return_type: As for `run_with_hooks`.

        Raises:
            InputError: As `run_with_hooks`.
        """
        points = self.hooks.find(names if names is not None else names_filter)
        recorders = {point.name: RecordValue() for point in points}
        with torch.no_grad():
            hooks: list[tuple[HookName, Callable[..., Any]]] = [*fwd_hooks, *recorders.items()]
            logits = self.run_with_hooks(tokens, hooks, attention_mask=attention_mask, return_type=return_type)
        activations = {name: recorder.records[0] for name, recorder in recorders.items()}
        return logits, Cache(activations, self.sizes.n_layers)

    def run_passes(self, passes: Sequence[ForwardPass], progress: Callable[[float], Any] | None = None) -> list[Any]:
        """Run some passes, and return the result of each.

        On a server all of them are one request; where weights are streamed, they are read once for all of them.

        Args:
            passes: From `pass_with`, `pass_at` and `pass_until_last`; hooks of later ones may read records of earlier
                ones.
            progress: Called with the share that is done, where weights are streamed.
        """
        return execution.execute(self, passes, progress)

    def pass_with(
        self,
        tokens: Int[Tensor, "batch pos"] | str,
        fwd_hooks: Sequence[tuple[HookName, HookFunction]] = (),
        finish: Finish | None = None,
    ) -> ForwardPass:
        """Return a forward pass for `run_passes`.

        Args:
            tokens: As in `run_with_hooks`.
            fwd_hooks: As in `run_with_hooks`.
            finish: Turns the logits into the pass's result, where the model is; None returns the logits themselves.

        Raises:
            InputError: As `run_with_hooks`.
        """
        return self._plan(self.check_tokens(tokens), fwd_hooks, finish)

    def pass_at(
        self,
        tokens: Int[Tensor, "batch pos"],
        row: Int[Tensor, " place"],
        pos: Int[Tensor, " place"],
        fwd_hooks: Sequence[tuple[HookName, HookFunction]] = (),
        finish: Finish | None = None,
        *,
        positions: Int[Tensor, "batch pos"] | None = None,
        visible: Bool[Tensor, "batch query key"] | None = None,
        real: Bool[Tensor, "batch pos"] | None = None,
    ) -> ForwardPass:
        """Return a pass for the logits at some places: the unembedding, costly in small models, is applied there alone.

        Args:
            tokens: Tokens.
            row: The sequence of each place.
            pos: Its index in the sequence.
            fwd_hooks: As in `run_with_hooks`.
            finish: As in `pass_with`.
            positions: Each token's position, where that is not its index.
            visible: The tokens that each token attends to, where that is not every token up to itself; needs
                `positions`.
            real: True for tokens, False for padding; None where there is no padding.

        Raises:
            InputError: As `run_with_hooks`.
        """
        ids = self.check_tokens(tokens, None if positions is None else int(positions.max()) + 1)
        inputs: dict[str, Tensor] = {}
        if visible is not None and positions is not None:
            inputs = {"visible": visible.to(self.device), "position_ids": positions.to(self.device)}
        hooks: Any = [*fwd_hooks, ("unembed.select", SelectPositions(row, pos))]
        return self._plan(ids, hooks, finish, real=real, inputs=inputs)

    def pass_until_last(
        self, tokens: Int[Tensor, "batch pos"], fwd_hooks: Sequence[tuple[str, HookFunction]]
    ) -> ForwardPass:
        """Return a pass for its hooks alone, without gradients; it ends after the last hook."""
        ids = self.check_tokens(tokens)
        with torch.no_grad():
            return self._plan(ids, fwd_hooks, only_hooks=True)

    def run_until_last(self, tokens: Int[Tensor, "batch pos"], fwd_hooks: Sequence[tuple[str, HookFunction]]) -> None:
        """Plan a pass with `pass_until_last`, and run it."""
        self.run_passes([self.pass_until_last(tokens, fwd_hooks)])

    def check_tokens(
        self, tokens: Int[Tensor, "batch pos"] | str, longest: int | None = None
    ) -> Int[Tensor, "batch pos"]:
        """Return tokens as the model takes them, on its device.

        Args:
            tokens: Tokens, or a text.
            longest: The number of positions, if a row has fewer of them than tokens (continuations of one context).

        Raises:
            InputError: Wrong rank or dtype, a token beyond the vocabulary, or too long a sequence.
        """
        ids = self._ids(self.to_tokens(tokens) if is_text(tokens) else tokens)
        if ids.dim() != 2 or ids.numel() == 0:
            raise InputError(f"tokens must have shape [batch, pos], not {list(ids.shape)}")
        if (length := longest or ids.shape[1]) > self.sizes.context:
            raise InputError(f"{length} tokens do not fit into {self.name}'s context of {self.sizes.context}")
        return ids.to(self.device)

    @contextmanager
    def _in_block(self, fwd_hooks: Sequence[tuple[HookName, HookFunction]]) -> Iterator["Model"]:
        """Call hooks in every run inside a block."""
        self._placed(fwd_hooks)
        with changed(Change(self, fwd_hooks=list(fwd_hooks))):
            yield self

    def _read(
        self, tokens: Any, attention_mask: Any
    ) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"] | None]:
        """Return tokens as `check_tokens` does, and the mask of those that are no padding; None if all are."""
        given, attention_mask = split_encoding(tokens, attention_mask)
        if given is not tokens and (row := self._ids(given)).dim() == 1:  # the encoding of one text
            given, attention_mask = row[None], None if attention_mask is None else [attention_mask]
        ids = self.check_tokens(given)
        if attention_mask is None and not is_text(given):
            source = self.hf.config if self.tokenizer is None else self.tokenizer
            ends = getattr(source, "eos_token_id", None)
            usual = {self.bos, *(ends if isinstance(ends, list | tuple) else [ends])}
            # Without a tokenizer the tokens may be random ones, of which one may be that of padding by chance.
            least = 1 if self.tokenizer is not None else 2
            check_no_padding(ids, getattr(source, "pad_token_id", None), usual, least=least)
        check_sides(mask := read_mask(attention_mask, ids), self.padding, self.name)
        return ids, mask

    def _plan(self, ids: Tensor, fwd_hooks: Sequence[Any], finish: Finish | None = None, **more: Any) -> ForwardPass:
        """Return a pass with hooks, after those of blocks and those that ablate the parts that are removed."""
        hooks = self._placed([*present_hooks(self), *fwd_hooks])
        return plan_ablated(self.hooks, present_changes(self), ids, hooks, finish, **more)

    def _placed(self, fwd_hooks: Sequence[tuple[HookName, HookFunction]]) -> list[PlacedHook]:
        for hook in fwd_hooks:
            if not isinstance(hook, tuple | list) or len(hook) != 2 or not callable(hook[1]):
                raise InputError(f"fwd_hooks must be a list of pairs (hook name, function), in which {hook!r} is none")
        return [(point, function) for name, function in fwd_hooks for point in self.hooks.find([name])]
