"""Models whose weights are on a server; here they have shapes only."""

import copy
import json
from pathlib import Path
from typing import Any

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import is_known
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.loading.stored_weights import check_type
from headcount.tracing.model import Model
from headcount.tracing.remote.client import Client
from headcount.tracing.sources.names import resolve
from headcount.tracing.sources.pretrained import NO_CODE, read_configuration, read_part, read_tokenizer


def model_on_server(
    source: Any, revision: str | None, dtype: Any, device_map: Any, remote: bool | str | Client, tokenizer: Any
) -> Model:
    """Open a model that a server runs; arguments as in `load_model`.

    Raises:
        InputError: There is no such model, or an option is the server's to choose.
    """
    import nnsight
    from nnsight.modeling.transformers import TransformersModel

    if not isinstance(source, str | Path) or dtype is not None or device_map is not None:
        raise InputError(
            "remote= takes a name on the Hub, or a folder with the configuration of a model that the server has; its "
            "number format and devices are the server's"
        )
    location, name, _, adapter = resolve(source)
    if adapter is not None:
        raise InputError(f"the server has no weights with the adapter in {source}: leave remote= out")
    options = NO_CODE | ({"revision": revision} if revision is not None else {})
    check_type(read_configuration(location, revision))
    tokenizer = tokenizer or read_tokenizer(location, revision)
    nnsight_tokenizer = copy.deepcopy(tokenizer)  # nnsight changes its padding
    remote_model = read_part(
        location,
        "configuration",
        lambda: TransformersModel(location, task="text-generation", tokenizer=nnsight_tokenizer, **options),
    )
    remote_model.dispatched = True  # so that nnsight does not fetch the weights
    hf = remote_model._module
    if is_known(hf.config):
        hf.config.pad_token_id = None  # some models search the tokens for it, and tokens on meta have no values
    model = checked_model(OpenedModel(hf, tokenizer, name, revision, nnsight.NNsight(hf)))
    if isinstance(remote, Client):
        client = remote
    else:
        model_key = _model_key(remote_model, location, name, revision)
        client = Client(model_key, remote if isinstance(remote, str) else None)
    model.run_on(client, remote_model)
    return model


def _model_key(remote_model: Any, location: str, name: str, revision: str | None) -> str:
    """Return the name by which a server knows the model; nnsight has none for a folder."""
    if not Path(location).is_dir():
        return str(remote_model.to_model_key())
    from nnsight.modeling.transformers import TransformersModel
    from nnsight.util import to_import_path

    entries = {"repo_id": name, "revision": revision or "main", "task": "text-generation"}
    return f"{to_import_path(TransformersModel)}:{json.dumps(entries)}"
