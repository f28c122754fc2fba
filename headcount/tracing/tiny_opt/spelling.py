"""The tiny OPT's tokenizer: a byte-level BPE of 512 ids, laid out like OPT's."""

import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

CORPUS = pathlib.Path(__file__).parent / "corpus.txt"
END, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"
SPECIAL = ("<s>", PAD, END, UNKNOWN)  # OPT's ids 0 to 3


def build_tokenizer(vocabulary: int, context: int) -> PreTrainedTokenizerBase:
    """Learn the merges from the corpus beside this file.

    The ids are the special tokens, the 256 byte symbols, and then the merges in the order in which they were learned,
    so that every text can be written and read back. `</s>` comes first in every text, as in OPT.

    Args:
        vocabulary: The number of ids.
        context: The length of the longest text, in tokens.

    Returns:
        The tokenizer, which transformers can save and load.
    """
    bpe = Tokenizer(models.BPE(unk_token=UNKNOWN))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS.read_text(encoding="utf-8").splitlines(), trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
