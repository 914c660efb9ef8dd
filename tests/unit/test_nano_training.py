"""Nano's training: it learns, continues exactly where it stopped, and never writes over another run."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast

from engine.errors import InputError
from engine.model.layout import PUBLISHED
from engine.nano import ablation, dataset, flow_matching, relations_training, vae_training
from engine.nano.ablation import VARIANTS, AblationPlan, run_ablation
from engine.nano.copies import SharedReferences
from engine.nano.dataset import ShardStore, make_shard, tokenise
from engine.nano.evaluation import Sampling, weights_digest
from engine.nano.export import export, record_results, write_card
from engine.nano.flow_matching import RelationsPlan
from engine.nano.muon import Muon, orthogonal
from engine.nano.relations_training import new_text_encoder, new_transformer, train_relations
from engine.nano.run_folder import RunFolder
from engine.nano.tokenizer import TEXT_TOKENS, train_tokenizer
from engine.nano.training import StageSettings, train
from engine.nano.vae_training import VaePlan, as_video, denormalised, new_vae, normalised, train_vae
from engine.nano.world.prompt import WorldPrompt
from engine.nano.world.scene import Structure

PAIR = Structure(background=True, thing=False, groups=(2, 2))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), scenes=200)


def test_special_tokens_are_where_umt5_has_them(tokenizer: PreTrainedTokenizerFast) -> None:
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("")["input_ids"] == [1]


@pytest.mark.parametrize(
    "text", ["A man in a red coat.", "Ein Mädchen, 漢字 and 🙂!", "zzyzx-42 (tab)", "Привет, café"]
)
def test_nothing_in_a_text_is_unknown(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


def test_words_of_the_world_come_back_as_they_were(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "a man in a red coat, 42 and 🙂!"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_a_strange_word_is_one_token_that_all_words_of_its_letter_share(tokenizer: PreTrainedTokenizerFast) -> None:
    def pieces(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    assert pieces("kimono") == pieces("Kaftan") == pieces("kilt-like")
    assert len(pieces("kimono")) == 1
    assert pieces("kimono") != pieces("sari")
    assert pieces("mankind") != pieces("man")
    assert len(pieces("红夹克")) == 3
    assert pieces("红夹克") != pieces("白衬衫")


def test_strange_words_are_found_where_they_stand(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "The tall woman wears a kimono, the man a t-shirt."
    at = text.index("kimono")
    prompt = WorldPrompt(text, ((at, at + len("kimono")),))
    tokens, _, masks = tokenise(prompt, tokenizer, everywhere=False)
    assert masks.sum() == 1
    assert int(tokens[masks[0]]) == tokenizer("kimono", add_special_tokens=False)["input_ids"][0]


def test_a_paragraph_fits(tokenizer: PreTrainedTokenizerFast) -> None:
    paragraph = "The bewildered gentleman, gesturing slowly, listens to a woman in a crimson cardigan. " * 11
    assert len(tokenizer(paragraph)["input_ids"]) <= TEXT_TOKENS


def test_words_of_the_world_are_never_cut_up(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer("red jacket", add_special_tokens=False)["input_ids"]) == 2


def test_masks_follow_spans_or_mark_every_occurrence(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "A man in a coat and a man in a hat."
    second = text.index("man", 5)
    prompt = WorldPrompt(text, ((second, second + 3),))
    tokens, length, narrow = tokenise(prompt, tokenizer, everywhere=False)
    _, _, wide = tokenise(prompt, tokenizer, everywhere=True)
    assert tokens.shape == (TEXT_TOKENS,)
    assert narrow.shape == (1, TEXT_TOKENS)
    assert (int(narrow.sum()), int(wide.sum())) == (1, 2)
    assert not narrow[:, length:].any()
    assert (narrow & ~wide).sum() == 0


def test_orthogonal_makes_all_singular_values_alike() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(24, 60, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_muon_learns_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(8, 8, generator=generator)
    layer = torch.nn.Linear(8, 8)
    optimizer = Muon(layer.parameters(), lr=0.2)
    inputs = torch.randn(64, 8, generator=generator)
    losses: list[float] = []
    for _ in range(60):
        loss = (layer(inputs) - inputs @ target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_the_autoencoder_has_the_published_geometry(tiny: None) -> None:
    vae = new_vae()
    for frames, latent in ((1, 1), (9, 3)):
        encoded = vae.encode(torch.zeros(1, 3, frames, 32, 48), return_dict=False)[0].mode()
        assert encoded.shape == (1, 12, latent, 4, 6)
        assert vae.decode(encoded, return_dict=False)[0].shape == (1, 3, frames, 32, 48)


def test_flat_convolutions_of_stills_change_nothing(tiny: None) -> None:
    vae = new_vae()
    picture = as_video(torch.randint(0, 256, (1, 1, 32, 48, 3), dtype=torch.uint8))
    slow = vae.encode(picture, return_dict=False)[0].mode()
    with vae_training.fast_stills():
        fast = vae.encode(picture, return_dict=False)[0].mode()
    assert torch.allclose(slow, fast, atol=1e-5)


def test_normalising_latents_is_undone(tiny: None) -> None:
    vae = new_vae([0.5] * 12, [2.0] * 12)
    latents = torch.randn(1, 12, 2, 4, 6)
    assert torch.allclose(denormalised(vae, normalised(vae, latents)), latents, atol=1e-6)


def _silent(*_: object, **__: object) -> None:
    return None


def _vae_run(folder: Path, steps: int, resume: bool) -> AutoencoderKLWan:
    plan = VaePlan(steps=steps, still_steps=2, still_batch=2, clip_batch=1, checkpoint_every=2)
    return train_vae(folder, plan, resume, log=_silent)


def test_a_resumed_autoencoder_run_equals_one_in_a_piece(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rate of learning follows the planned end, which is what a stopped run must not have moved.
    monkeypatch.setattr(vae_training, "_rate", lambda step, steps: 1.0)
    monkeypatch.setattr(vae_training, "with_statistics", lambda vae, seed: None)
    whole = _vae_run(tmp_path / "whole", 4, False)
    _vae_run(tmp_path / "parts", 2, False)
    parts = _vae_run(tmp_path / "parts", 4, True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name


def test_a_run_is_not_written_over(tiny: None, tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = Muon(model.parameters(), lr=0.1)
    RunFolder(tmp_path, "vae", {"seed": 1}).save(3, {"model": model}, optimizer)
    with pytest.raises(InputError, match="--resume"):
        RunFolder(tmp_path, "vae", {"seed": 1}).start(False, {"model": model}, optimizer)
    with pytest.raises(InputError, match="other settings"):
        RunFolder(tmp_path, "vae", {"seed": 2}).start(True, {"model": model}, optimizer)
    assert RunFolder(tmp_path, "vae", {"seed": 1}).start(True, {"model": model}, optimizer) == 3
    (tmp_path / "vae-checkpoint" / "tensors.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be read"):
        RunFolder(tmp_path, "vae", {"seed": 1}).start(True, {"model": model}, optimizer)


def test_a_shard_holds_scenes_of_one_structure(tiny: None, tokenizer: PreTrainedTokenizerFast) -> None:
    tensors = make_shard(new_vae(), tokenizer, PAIR, 2, first_seed=0, count=2)
    assert tensors["video"].shape == (2, 12, 2, 12, 16)
    assert tensors["references"].shape == (2, 12, 5, 12, 16)
    assert tensors["masks"].shape == (2, dataset.PROMPTS, 5, TEXT_TOKENS)
    assert tensors["masks"].any(dim=-1).all()


def test_relations_learn_and_resume_exactly(
    tiny: None, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations_training, "rate", lambda step, steps: 1.0)
    monkeypatch.setattr(dataset, "CYCLE", ((PAIR, 1),))
    store = ShardStore(tmp_path / "shards", new_vae(), tokenizer)
    plan = RelationsPlan(steps=4, batch=2, first_shards=1, shards=1, checkpoint_every=2)
    whole = train_relations(tmp_path / "whole", plan, store, False, log=_silent)
    train_relations(tmp_path / "parts", dataclasses.replace(plan, steps=2), store, False, log=_silent)
    parts = train_relations(tmp_path / "parts", plan, store, True, log=_silent)
    for one, other in zip(whole, parts, strict=True):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_copies_equal_passes_of_their_own() -> None:
    torch.manual_seed(0)
    transformer = new_transformer()
    torch.nn.init.normal_(transformer.proj_out.weight)
    noisy = torch.randn(2, 3, 12, 2, 4, 6)
    conditions = {
        "reference_latents": torch.randn(2, 12, 5, 4, 6),
        "groups": (2, 2),
        "text_masks": torch.rand(2, 5, 16) < 0.2,
    }
    arguments = (torch.tensor([300.0, 800.0]), torch.randn(2, 16, 128))
    with torch.no_grad():
        alone = [transformer(noisy[:, k], *arguments, return_dict=False, **conditions)[0] for k in range(3)]
        together = SharedReferences(transformer).velocity(noisy, *arguments, **conditions)
    assert torch.allclose(together, torch.stack(alone, dim=1), atol=1e-4)


def test_attention_to_the_right_person_costs_nothing_and_to_the_wrong_one_much() -> None:
    owners = torch.tensor([[0, 1, -1, 1]])
    right = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])[None, None]
    assert flow_matching.localisation_loss([right], owners, False).item() == pytest.approx(0)
    assert flow_matching.localisation_loss([1 - right], owners, False).item() > 5
    even = torch.full_like(right, 0.5)
    assert flow_matching.localisation_loss([even, even], owners, False).item() == pytest.approx(math.log(2))
    assert flow_matching.localisation_loss([], owners, False).tolist() == [0]
    to_background = torch.nn.functional.pad(right, (1, 0), value=7.0)
    behind = torch.where(owners < 0, owners, owners + 1)
    assert flow_matching.localisation_loss([to_background], behind, True).item() == pytest.approx(0)
    assert flow_matching.localisation_loss([to_background[..., :1]], torch.full_like(owners, -1), True) == 0


def test_objects_count_most_and_the_background_least() -> None:
    structure = dataset.Structure(background=True, thing=True, groups=(2,))
    weights = flow_matching.emphasis(torch.tensor([[-1, 1, 2, -1]]), structure, (2, 2, 4))
    assert weights.shape == (1, 1, 1, 2, 2, 4)
    background, thing = flow_matching.BACKGROUND_WEIGHT, flow_matching.OBJECT_WEIGHT
    assert weights[0, 0, 0, :, 0].flatten().tolist() == pytest.approx(
        [background] * 2 + [thing] * 2 + [1.0] * 2 + [background] * 2
    )


def test_shares_of_attention_are_those_of_the_layout() -> None:
    transformer = new_transformer()
    network = SharedReferences(transformer)
    network.watch(4)
    conditions = {"reference_latents": torch.randn(2, 12, 4, 4, 6), "groups": (1, 2)}
    with torch.no_grad():
        network.velocity(
            torch.randn(2, 3, 12, 2, 4, 6), torch.tensor([300.0, 800.0]), torch.randn(2, 16, 128), **conditions
        )
    shares = network.shares()
    assert [share.shape for share in shares] == [(2, 3, 12, 3)] * 2
    assert torch.allclose(shares[0].sum(-1), torch.ones(2, 3, 12))
    assert network.shares() == []


def test_the_velocity_loss_falls(tiny: None, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    transformer, encoder = new_transformer(), new_text_encoder(len(tokenizer))
    tensors = make_shard(new_vae(), tokenizer, PAIR, 1, first_seed=0, count=4)
    shard = dataset.Shard(PAIR, **tensors, owners=dataset.owners_of(PAIR, 1, 0, 4))
    relations_training.keep_norms_in_half(transformer)
    optimizer = Muon([*transformer.parameters(), *encoder.parameters()], lr=5e-3)
    learner = flow_matching.Learner(SharedReferences(transformer), encoder)
    losses: list[float] = []
    for step in range(12):
        batch = flow_matching.take(shard, np.random.default_rng(0), 4)
        generator = torch.Generator().manual_seed(step % 2)
        loss, errors = flow_matching.velocity_loss(learner, batch, RelationsPlan(), generator, learner)
        assert errors.shape == (3, 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.97 * sum(losses[:2])


@pytest.fixture
def batch_and_learner(
    tiny: None, tokenizer: PreTrainedTokenizerFast
) -> tuple[flow_matching.Batch, flow_matching.Learner]:
    torch.manual_seed(0)
    transformer, encoder = new_transformer(), new_text_encoder(len(tokenizer))
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.1)  # an untrained network answers zero to everything
    tensors = make_shard(new_vae(), tokenizer, PAIR, 1, first_seed=0, count=2)
    shard = dataset.Shard(PAIR, **tensors, owners=dataset.owners_of(PAIR, 1, 0, 2))
    relations_training.keep_norms_in_half(transformer)
    learner = flow_matching.Learner(SharedReferences(transformer), encoder)
    return flow_matching.take(shard, np.random.default_rng(0), 2), learner


def test_the_pass_without_relations_sees_every_copy_as_if_it_were_alone(
    batch_and_learner: tuple[flow_matching.Batch, flow_matching.Learner],
) -> None:
    batch, learner = batch_and_learner
    noisy, sigma = torch.randn(2, 2, *batch.video.shape[1:]), torch.tensor([0.3, 0.9])
    seen: list[object] = []
    learner.network.transformer.register_forward_pre_hook(
        lambda _, __, conditions: seen.append(conditions["relations"]), with_kwargs=True
    )
    both = flow_matching.unrelated_velocity(learner, noisy, sigma, batch, RelationsPlan())
    assert both.shape == noisy.shape
    for copy in range(2):
        one = noisy[:, copy : copy + 1]
        alone = flow_matching.unrelated_velocity(learner, one, sigma, batch, RelationsPlan())
        assert torch.allclose(both[:, copy : copy + 1], alone, atol=0.02 * float(both.abs().max()))  # bfloat16
    assert seen == [dataclasses.replace(PUBLISHED, self_attention=False)] * 3


def test_a_share_of_relation_guidance_is_part_of_what_is_learned(
    batch_and_learner: tuple[flow_matching.Batch, flow_matching.Learner], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, learner = batch_and_learner
    plan = RelationsPlan(uneven=0.0, dropped_prompts=0.0, localisation=0.0, guided=0.25)

    def all_that_is_missing(
        average: flow_matching.Learner,
        noisy: torch.Tensor,
        sigma: torch.Tensor,
        batch: flow_matching.Batch,
        plan: RelationsPlan,
    ) -> torch.Tensor:
        own = average.velocity(noisy, sigma, batch, plan, plan.relations).float()
        plain = (noisy - batch.video[:, None]) / sigma.view(-1, 1, 1, 1, 1, 1)
        return own - (own - plain) / plan.guided

    monkeypatch.setattr(flow_matching, "unrelated_velocity", all_that_is_missing)
    plain = dataclasses.replace(plan, guided=0.0)
    losses = [
        float(flow_matching.velocity_loss(learner, batch, one, torch.Generator().manual_seed(0), learner)[0].detach())
        for one in (plain, plan)
    ]
    assert losses[0] > 0.1
    assert losses[1] < 1e-6 * losses[0]


def test_an_ablation_trains_and_measures_every_row_and_goes_on_where_it_stopped(
    tiny: None, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "CYCLE", ((PAIR, 1),))
    start = tmp_path / "start"
    export(start, tokenizer, new_text_encoder(len(tokenizer)), new_vae(), new_transformer())
    training = RelationsPlan(steps=1, batch=2, localisation=0.0, first_shards=1, shards=1)
    plan = AblationPlan(training=training, scenes=1, subjects=(2,))
    measured: list[tuple[str, bool]] = []

    def measure(pipeline: object, scenes: int, seed: int, sampling: Sampling, count: int) -> dict[str, float]:
        measured.append((str(sampling.relations), sampling.grouped))
        if len(measured) == 3:
            raise KeyboardInterrupt
        return {"binding_accuracy": 0.5}

    monkeypatch.setattr(ablation, "measure_binding", measure)
    with pytest.raises(KeyboardInterrupt):
        run_ablation(tmp_path, start, plan, False, log=_silent)
    table = run_ablation(tmp_path, start, plan, True, log=_silent)
    assert list(table["rows"]) == list(VARIANTS)
    assert table["steps"] == 1
    # Eight measurements for seven rows: only the interrupted one was made twice, and no two rows are the same model.
    assert len(measured) == 8
    assert len(set(measured)) == 7
    assert measured.count((str(VARIANTS["alone"].relations), False)) == 1


def test_a_budget_changes_only_what_is_given() -> None:
    plan = AblationPlan(seed=4).with_budget(steps=7, batch=None)
    assert (plan.training.steps, plan.training.batch, plan.training.seed) == (7, AblationPlan().training.batch, 4)


def test_going_on_from_a_model_needs_neither_its_autoencoder_nor_its_tokenizer_again(
    tiny: None, tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "CYCLE", ((PAIR, 1),))
    start = tmp_path / "start"
    export(start, tokenizer, new_text_encoder(len(tokenizer)), new_vae(), new_transformer())
    trained = {"relations": {"step": 5}}
    write_card(start, {"name": "nano", "training": trained, "earlier_rounds": [{"weights": "first"}]})
    record_results(start, {"scenes": 3})
    settings = StageSettings(steps=1, batch=2, learning_rate=1e-4, start=start)
    train(tmp_path / "out", "relations", settings, resume=False)
    card = json.loads((tmp_path / "out" / "model" / "card.json").read_text())
    assert card["training"]["relations"]["plan"]["learning_rate"] == 1e-4
    rounds = [{"weights": "first"}, {"training": trained, "weights": weights_digest(start)}]
    assert card["earlier_rounds"] == rounds
    assert "results" not in card
    own, before = (folder / "vae" / "diffusion_pytorch_model.safetensors" for folder in (tmp_path / "out/model", start))
    assert own.read_bytes() == before.read_bytes()
    assert str(tmp_path) not in (tmp_path / "out" / "model" / "vae" / "config.json").read_text()
    with pytest.raises(InputError, match="no trained tokenizer yet"):
        train(tmp_path / "empty", "relations", StageSettings(steps=1), resume=False)


def test_what_is_left_open_of_a_stage_is_the_plans() -> None:
    assert StageSettings(steps=3).pace() == {"steps": 3}
    assert StageSettings(learning_rate=0.1).pace() == {"learning_rate": 0.1}
