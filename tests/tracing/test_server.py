"""A model on a server: every measurement equals the local one, and what goes wrong on the way loses nothing."""

import json

import pytest
import torch
import zstandard
from reference.models import BUILDERS, bpe_tokenizer
from support.equals_local import EXAMPLES, TEXT, EqualsLocal, close
from support.standing_server import Standing

from headcount import importance, induction
from headcount.results import InputError
from headcount.tracing import Hook, ServerError, load_model, pruned, randomised
from headcount.tracing.remote import client as clients
from headcount.tracing.remote.client import Client


@pytest.fixture(scope="module", params=["opt", "llama_wide_heads"])
def standing(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / request.param
    BUILDERS[request.param]().save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    server = Standing(folder)
    yield server
    server.process.kill()


@pytest.fixture
def local(standing):
    return load_model(standing.folder)


@pytest.fixture
def far(standing):
    return load_model(standing.folder, remote=standing.host)


class TestEqualsLocal(EqualsLocal):
    def test_nothing_but_shapes_is_here(self, far):
        assert all(parameter.is_meta for parameter in far.hf.parameters())
        assert far.device == torch.device("cpu")

    def test_sequences_one_at_a_time_are_one_request(self, standing, far):
        before = standing.counts["requests"]
        induction.repeat_loss(far, 3, period=6)
        assert standing.counts["requests"] == before + 1

    def test_gates_are_learned_in_one_request_a_stage(self, standing, local, far):
        before = standing.counts["requests"]
        on_local, on_far = (
            importance.causal_gates(model, EXAMPLES, seeds=(0,), steps=3, ablation="zero") for model in (local, far)
        )
        self.close(on_far.facilitating.values, on_local.facilitating.values)
        self.close(on_far.interfering.values, on_local.interfering.values)
        assert standing.counts["requests"] == before + 3


class TestTheWire:
    def test_a_request_carries_no_weights_and_no_bytecode(self, far, monkeypatch):
        seen = []
        submit = Client._submit
        monkeypatch.setattr(Client, "_submit", lambda self, blob: seen.append(blob) or submit(self, blob))
        far.run_with_cache(TEXT)
        induction.copying(far, torch.arange(2, 14)[None])
        importance.head_importance(far, EXAMPLES)
        induction.head_profile(far, 1, 1, TEXT)
        for blob in seen:
            plain = zstandard.ZstdDecompressor().decompress(blob, max_output_size=1 << 26)
            assert len(plain) < 100_000
            assert b"CodeType" not in plain  # generated methods have no source, and other Pythons cannot read them

    def test_scores_come_back_and_not_patterns(self, far):
        received = []
        for period in (8, 14):
            before = far.server.received
            induction.prefix_matching(far, induction.repeated_tokens(far, period, 4), period)
            received.append(far.server.received - before)
        assert received[1] <= received[0] * 1.05

    def test_sequences_share_requests(self, standing, far):
        before = standing.counts["requests"]
        induction.prefix_matching(far, induction.repeated_tokens(far, 8, 20), 8)
        assert standing.counts["requests"] == before + 1

    def test_the_oracle_of_all_ffns_is_one_request(self, standing, far):
        before = standing.counts["requests"]
        importance.ffn_importance(far, importance.load_task("plural"), 0, 4)
        assert standing.counts["requests"] == before + 1

    def test_masks_of_documents_whose_choices_share_a_row_are_made_on_the_server(self, far):
        sent = []
        for limit in (4, 16):
            before = far.server.sent
            importance.accuracy(far, importance.load_task("plural"), 3, limit)
            sent.append(far.server.sent - before)
        assert sent[1] - sent[0] < 12 * 1000  # a document's row of some 100 tokens; its mask would be 40 kB in float32

    def test_no_key_is_written_or_said(self, standing, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("NDIF_API_KEY", "a-key-nobody-may-see")
        messages = []
        far = load_model(standing.folder, remote=standing.host)
        far.server.record_jobs(tmp_path / "jobs.json", messages.append)
        scores = induction.prefix_matching(far, induction.repeated_tokens(far, 6, 2), 6)
        scores.save(tmp_path / "scores.safetensors")
        standing.goes_wrong(
            {"path": "/request", "kind": "status", "status": 401, "detail": "no such key as a-key-nobody-may-see"}
        )
        with pytest.raises(
            ServerError, match=r"refuses the key: no such key as \(the key\): set the variable NDIF_API_KEY"
        ) as error:
            far(TEXT)
        texts = [path.read_bytes() for path in tmp_path.iterdir()]
        assert not any(b"nobody-may-see" in text for text in texts)
        assert "nobody-may-see" not in f"{messages} {error.value} {capsys.readouterr()} {scores.provenance}"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(clients, "PAUSES", (0.01, 0.05))
    monkeypatch.setattr(clients, "GRACE", 0.2)


@pytest.mark.usefixtures("quick")
class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            {"path": "/request", "kind": "status", "status": 429},
            {"path": "/request", "kind": "status", "status": 500},
            {"path": "/response", "kind": "status", "status": 503},
            {"path": "/response", "kind": "drop"},
            {"path": "/result", "kind": "drop"},
            {"path": "/result", "kind": "truncate"},
            {"path": "/response", "kind": "slow", "seconds": 0.5},
        ],
    )
    def test_what_passes_is_waited_for_and_nothing_runs_twice(self, standing, local, far, fault):
        before = standing.counts["runs"]
        standing.goes_wrong(fault, fault)
        close(far(TEXT), local(TEXT))
        assert standing.counts["runs"] == before + 1

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ({"path": "/request", "kind": "status", "status": 400, "detail": "bad model"}, "status 400: bad model"),
            ({"path": "/request", "kind": "garbage"}, "does not speak NDIF's protocol"),
            ({"path": "/response", "kind": "garbage"}, "does not speak NDIF's protocol"),
            ({"path": "/request", "kind": "drop", "when": "after"}, "the server may have accepted it or not"),
        ],
    )
    def test_what_does_not_pass_is_said_at_once(self, standing, far, fault, message):
        before = standing.counts["requests"]
        standing.goes_wrong(fault)
        with pytest.raises(ServerError, match=message):
            far(TEXT)
        assert standing.counts["requests"] <= before + 1

    def test_a_server_that_stays_busy_is_given_up_with_a_count(self, standing, far, monkeypatch):
        monkeypatch.setattr(clients, "RETRIES", 3)
        standing.goes_wrong(*[{"path": "/request", "kind": "status", "status": 503}] * 3)
        with pytest.raises(ServerError, match=r"is busy \(status 503\); tried 3 times"):
            far(TEXT)

    def test_nobody_there(self, far, monkeypatch):
        monkeypatch.setattr(clients, "RETRIES", 2)
        far.server.host = "http://127.0.0.1:9"
        with pytest.raises(ServerError, match="cannot be reached or is busy"):
            far(TEXT)

    def test_an_error_of_the_request_is_carried_back(self, far):
        def wrong(value, hook):
            raise ArithmeticError("nothing adds up")

        with pytest.raises(ServerError, match=r"could not do the job: .*nothing adds up"):
            far.run_with_hooks(TEXT, [("blocks.0.hook_mlp_out", wrong)])
        assert far(TEXT).shape[1] == len(far.to_tokens(TEXT)[0])

    def test_a_result_of_another_shape_is_refused(self, far, monkeypatch):
        monkeypatch.setattr(Client, "_load", lambda self, url: [[torch.zeros(1), [[], []]]])
        with pytest.raises(ServerError, match="expected the results of 1 passes"):
            far(TEXT)

    def test_a_restart_fetches_what_was_submitted_before(self, standing, tmp_path, monkeypatch):
        tokens = induction.repeated_tokens(load_model(standing.folder), 6, 3)

        def measure():
            far = load_model(standing.folder, remote=standing.host)
            far.server.record_jobs(tmp_path / "jobs.json")
            return induction.prefix_matching(far, tokens, 6)

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        before = standing.counts["runs"]
        with monkeypatch.context() as patch:
            patch.setattr(Client, "_wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                measure()
        close(measure().values, induction.prefix_matching(load_model(standing.folder), tokens, 6).values)
        assert standing.counts["runs"] == before + 1
        assert json.loads((tmp_path / "jobs.json").read_text()) == {}

    def test_a_job_that_the_server_forgot_is_submitted_anew(self, standing, local, far, tmp_path, monkeypatch):
        far.server.record_jobs(tmp_path / "jobs.json")
        monkeypatch.setattr(clients.Jobs, "get", lambda self, digest: "a-job-of-last-year")
        close(far(TEXT), local(TEXT))


def test_what_cannot_be_had_from_a_server_is_said(standing, far):
    with pytest.raises(InputError, match="random weights can be drawn for a model that is"):
        randomised(far)
    with pytest.raises(InputError, match=r"not in memory, and its weights stay as they are: use masked"):
        pruned(far, heads=[(0, 0)])
    with pytest.raises(InputError, match="eigenvalue copying reads the weights"):
        induction.copying(far, torch.arange(2, 14)[None], "eigenvalue")
    with pytest.raises(InputError, match="remote= takes a name on the Hub"):
        load_model(BUILDERS["opt"](), remote=standing.host)
    with pytest.raises(InputError, match="remote must be True or a server's address"):
        load_model(standing.folder, remote="gopher://there")


def test_hooks_learn_their_layer():
    assert Hook("blocks.3.hook_mlp_out").layer() == 3
