"""A model's texts: what its tokenizer makes of them, and of its tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.text import texts
from headcount.tracing.text.token_ids import token_ids


class TextModel:
    """The base of `Model`: a name, a tokenizer and a vocabulary.

    Attributes:
        name: The model's name in results and reports.
        hf: The transformers model, for its configuration.
        tokenizer: Its tokenizer, or None.
        sizes: Its sizes.
        device: The device of tokens.
    """

    name: str
    hf: Any
    tokenizer: Any
    sizes: Sizes

    @property
    def device(self) -> torch.device:
        """The device of tokens."""
        return torch.device("cpu")

    @property
    def bos(self) -> int | None:
        """The token that begins a sequence, if the tokenizer (or, without one, the configuration) has one."""
        source = self.hf.config if self.tokenizer is None else self.tokenizer
        token = getattr(source, "bos_token_id", None)
        return int(token) if isinstance(token, int) and 0 <= token < self.sizes.vocab else None

    def to_tokens(self, text: str | Sequence[str], prepend_bos: bool | None = None) -> Int[Tensor, "batch pos"]:
        """Encode text as tokens.

        Args:
            text: One text, or several that have equally many tokens.
            prepend_bos: True begins the sequence with the BOS token, once; None does what the tokenizer does by
                default, but puts no second BOS in front of a text that begins with one.

        Raises:
            InputError: There is no tokenizer or no BOS token, the argument is no text or no valid Unicode, or the texts
                differ in length.
        """
        rows = texts.encode(self._need_tokenizer(), text, self.bos, prepend_bos, self.name)
        return torch.tensor(rows, device=self.device)

    def to_str_tokens(self, tokens: str | Int[Tensor, " pos"] | Int[Tensor, "1 pos"]) -> list[str]:
        """Return one sequence's tokens as texts that together are its text.

        Of a character that several tokens spell byte by byte, the last one has the character, those before are empty.
        """
        ids = self._ids(self.to_tokens(tokens) if isinstance(tokens, str) else tokens)
        if (ids.dim() == 2 and len(ids) != 1) or ids.dim() not in (1, 2):
            raise InputError(f"expected one sequence of tokens, not a tensor of shape {list(ids.shape)}")
        return texts.token_texts(self._need_tokenizer(), ids.flatten().tolist())

    def to_string(self, tokens: Int[Tensor, " pos"] | Int[Tensor, "batch pos"]) -> str | list[str]:
        """Return the text of tokens; of a batch, one text a row."""
        ids = self._ids(tokens)
        if ids.dim() not in (1, 2):
            raise InputError(f"expected tokens [pos] or [batch, pos], not a tensor of shape {list(ids.shape)}")
        rows = [texts.decode(self._need_tokenizer(), row) for row in (ids if ids.dim() == 2 else ids[None]).tolist()]
        return rows if ids.dim() == 2 else rows[0]

    def to_single_token(self, text: str) -> int:
        """Return the token that is a text.

        Raises:
            InputError: The text has several tokens, or none.
        """
        tokenizer = self._need_tokenizer()
        if isinstance(text, str):
            texts.check_unicode(text)
        ids = tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else []
        if len(ids) != 1:
            raise InputError(f"expected a text of one token, got {text!r:.80}, which has {len(ids)}: mind the space")
        return int(ids[0])

    def _ids(self, tokens: Any) -> Int[Tensor, "..."]:
        return token_ids(tokens, self.sizes.vocab, self.name)

    def _need_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise InputError(f"{self.name} was loaded without a tokenizer: pass tokens, or load_model(..., tokenizer=)")
        return self.tokenizer
