"""Forward passes as data: the input, the hooks in execution order, and the function that reduces the logits.

nnsight gives values in the order in which the forward pass computes them. Hooks are therefore grouped into stops (a
module and a port) in execution order. At each stop the raw value is read once, its hooks are called one after another,
and the value is written back once if one of them returned a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headcount.remote_code import runs_remotely
from headcount.tracing.hooks.hook import HookFunction, Recorder, RecordGradient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headcount.tracing.architectures.views import View
    from headcount.tracing.hooks.hook import Finish


@runs_remotely
class BoundHook:
    """A function bound to a hook point.

    Attributes:
        name: The hook's name.
        view: The part of the raw value that the hook sees.
        detail: The operation's label, or the part of the attention call; see `HookPoint`.
        function: The function.
    """

    def __init__(self, name: str, view: View, detail: str, function: HookFunction) -> None:
        self.name, self.view, self.detail, self.function = name, view, detail, function


@runs_remotely
class KeptInput:
    """The input of a module, kept for a later stop in the block.

    Attributes:
        value: The input; None before the forward pass comes to the module.
    """

    def __init__(self) -> None:
        self.value: Any = None


@runs_remotely
class Stop:
    """A place in the forward pass at which hooks are called.

    Attributes:
        module: The module's path.
        port: The value that is meant; see `HookPoint`.
        hooks: The hooks, in the order in which they are called.
        kept: The residual stream, for the ports `middle` and `rest`, as an earlier stop, of port `keep`, found it.
    """

    def __init__(self, module: str, port: str, hooks: Sequence[BoundHook], kept: KeptInput | None = None) -> None:
        self.module, self.port, self.hooks = module, port, list(hooks)
        self.kept = KeptInput() if kept is None else kept

    def first_name(self) -> str:
        """Return the name of the first hook."""
        return self.hooks[0].name

    def layer(self) -> int | None:
        """Return the block's number; None outside of the blocks."""
        name = self.first_name()
        return int(name.split(".")[1]) if name.startswith("blocks.") else None

    def skips_block(self) -> bool:
        """Return True if the hook here replaces a whole block."""
        return self.port == "skip" and self.first_name().endswith(".skip")


@runs_remotely
class ForwardPass:
    """One forward pass.

    Attributes:
        inputs: The model's own arguments; and `visible`, [batch, query, key], the tokens that each token attends to,
            where that is not every token up to itself.
        stops: The places at which hooks are called, in execution order.
        finish: Turns the logits into the pass's result, given them and the `Hook` of the whole model; None returns the
            logits themselves. For `RecordGradient` hooks the result is one number, which is differentiated.
        only_hooks: True ends the pass after the last hook: nothing that only serves the logits is computed.
        gradients: True if the pass can be differentiated.
        before: Passes that run before this one, whose records its hooks read.
    """

    before: list[ForwardPass]

    def __init__(
        self,
        inputs: dict[str, Any],
        stops: Sequence[Stop],
        finish: Finish | None,
        *,
        only_hooks: bool,
        gradients: bool,
    ) -> None:
        self.inputs, self.stops, self.finish = inputs, stops, finish
        self.only_hooks, self.gradients = only_hooks, gradients
        self.before = []

    def functions(self) -> list[Any]:
        """Return the functions of all hooks."""
        return [hook.function for stop in self.stops for hook in stop.hooks]

    def recorders(self) -> list[Recorder]:
        """Return the hooks whose records come back to the caller, each once."""
        recorders = [function for function in self.functions() if isinstance(function, Recorder) and function.returns]
        return list({id(recorder): recorder for recorder in recorders}.values())

    def gradient_recorders(self) -> list[RecordGradient]:
        """Return the hooks that need gradients."""
        return [recorder for recorder in self.recorders() if isinstance(recorder, RecordGradient)]
