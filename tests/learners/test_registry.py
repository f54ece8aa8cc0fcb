"""How learners are named, configured and built."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medmeta.encoders import AbstractEncoder, EncoderConfig, build_encoder
from medmeta.episode import InputSpec, LabelledSet, Target
from medmeta.errors import SettingsError, UnknownNameError, UnsupportedTaskError
from medmeta.learner import adapt_task
from medmeta.learners import (
    LEARNERS,
    build_head,
    build_learner,
    build_on,
    configuration,
    learner_spec,
    learners_taking,
    names_on_encoders,
)
from tests.learners.few import OF_CLASSES

IMAGE, TARGET = InputSpec(3, (16, 16)), Target("classes", 3)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_says_what_it_is(name: str) -> None:
    spec = learner_spec(name)
    assert spec.name == name
    assert spec.summary
    assert any(part.isdigit() and len(part) == 4 for part in spec.paper.replace(",", " ").split())
    assert (spec.config.__doc__ or "").strip()


@pytest.mark.parametrize("name", LEARNERS)
def test_a_configuration_survives_json(name: str) -> None:
    config = configuration(name, None)
    assert config.encoder.norm == learner_spec(name).default_norm
    kind = learner_spec(name).config
    assert kind.model_validate_json(config.model_dump_json()) == config
    assert configuration(name, config) is config


@pytest.mark.parametrize("name", OF_CLASSES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    config = {"encoder": {"options": {"width": 4}}}
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_learner(name, config, IMAGE, TARGET).state_dict())
    assert all(torch.equal(states[0][k], v) for k, v in states[1].items())


def test_an_unknown_learner_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'prototypical'"):
        build_learner("prototipical", None, IMAGE, TARGET)


def test_a_misspelt_option_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"learner maml: .*inner_rat \(did you mean inner_rate"):
        build_learner("maml", {"inner_rat": 0.1}, IMAGE, TARGET)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("maml", {"inner_rate": 0.0}),
        ("maml", {"inner_rate": float("nan")}),
        ("maml", {"inner_steps": 0}),
        ("maml", {"max_way": 1}),
        ("ridge", {"regularisation": -1.0}),
        ("ridge", {"scale": 0}),
        ("prototypical", {"distance": "manhattan"}),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, option: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=f"learner {name}: {next(iter(option))}: "):
        build_learner(name, option, IMAGE, TARGET)


def test_a_learner_without_a_head_offers_the_heads() -> None:
    headless = next(name for name, spec in LEARNERS.items() if spec.build_head is None)
    with pytest.raises(UnsupportedTaskError, match=r"is not a head; heads are .*ridge"):
        build_head(headless, None, InputSpec(8, ()), TARGET)


def test_one_class_is_no_task() -> None:
    with pytest.raises(UnsupportedTaskError, match="at least two classes"):
        build_learner("ridge", None, IMAGE, Target("classes", 1))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_network_of_one_s_own_is_the_encoder(name: str) -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(768, 6))
    learner = build_learner(name, None, IMAGE, TARGET, encoder=own)
    assert own[1].weight in set(learner.parameters())


WITH_MAX_WAY = [n for n, spec in LEARNERS.items() if "max_way" in spec.config.model_fields]


@pytest.mark.parametrize(("asked", "built"), [(None, 3), (3, 3), (5, 5)])
@pytest.mark.parametrize("name", [n for n in OF_CLASSES if n in WITH_MAX_WAY])
def test_the_output_layer_is_as_large_as_asked(name: str, asked: int | None, built: int) -> None:
    learner = build_learner(name, {"max_way": asked}, IMAGE, TARGET)
    assert learner.traits.max_way == built


@pytest.mark.parametrize("name", WITH_MAX_WAY)
def test_an_output_layer_smaller_than_the_tasks_is_refused(name: str) -> None:
    target = TARGET if name in OF_CLASSES else Target("masks", 3)
    message = f"^{name} is .* at most max_way=2 classes, and for tasks of 3[.] Set max_way=3 or"
    with pytest.raises(SettingsError, match=message):
        build_learner(name, {"max_way": 2}, IMAGE, target)


@pytest.mark.parametrize(("heads", "slots"), [(4, 3), (3, 2), (100, 99)])
def test_a_memory_with_fewer_slots_than_heads_is_refused(heads: int, slots: int) -> None:
    """Some heads would have no slot of their own to write to."""
    message = f"^learner mann: {heads} heads write to a slot each, and there are {slots} slots; set"
    with pytest.raises(SettingsError, match=message):
        configuration("mann", {"heads": heads, "slots": slots})
    assert configuration("mann", {"heads": heads, "slots": heads})


def test_values_are_no_classes_to_be_refused() -> None:
    narrow = {"options": {"width": 4}}
    learner = build_learner("maml", {"max_way": 2, "encoder": narrow}, IMAGE, Target("values", 3))
    assert learner.traits.max_way is None


def test_naming_the_learners_imports_no_slow_library() -> None:
    """Scikit-learn takes a second to import, and most commands fit none of its estimators."""
    slow = "('sklearn', 'scipy.stats', 'skimage')"
    code = f"import sys, medmeta.learners; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def group_encoder() -> AbstractEncoder:
    torch.manual_seed(0)
    return build_encoder(EncoderConfig(options={"width": 8}), IMAGE, norm="group")


@pytest.mark.parametrize("name", [n for n, spec in LEARNERS.items() if spec.tunes])
def test_tuning_starts_at_the_encoder_and_leaves_it_as_it_is(name: str) -> None:
    encoder = group_encoder()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    support = LabelledSet(torch.rand(1, 3, 3, 16, 16), torch.tensor([[0, 1, 2]]), torch.zeros(1))
    answers = []
    for steps in (0, 60):
        torch.manual_seed(0)
        learner = build_on(encoder, name, {"test_steps": steps}, IMAGE, TARGET).eval()
        answers.append(learner.adapt(support, TARGET)(support.inputs)[0])
    loss = [F.cross_entropy(a, support.labels[0]) for a in answers]
    assert loss[1] < 0.5 * loss[0]
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_what_must_be_trained_is_not_put_on_an_encoder() -> None:
    others = set(LEARNERS) - set(names_on_encoders())
    assert {"maml", "relation"} <= others
    for name in others:
        with pytest.raises(UnsupportedTaskError, match=f"{name} is not a head.*--init RUN"):
            build_on(group_encoder(), name, None, IMAGE, TARGET)


def test_one_that_tunes_an_encoder_is_no_head_by_itself() -> None:
    name = next(n for n, spec in LEARNERS.items() if spec.tunes)
    with pytest.raises(UnsupportedTaskError) as caught:
        build_head(name, None, InputSpec(8, ()), TARGET)
    told = str(caught.value).split("heads are ")[1]
    assert name not in told


PICTURES = torch.zeros(1, 4, 1, 16, 16)
IDS = torch.arange(1)


@pytest.mark.parametrize("name", ["prototypical", "maml", "meta_networks"])
@pytest.mark.parametrize(
    ("labels", "inputs", "complaint"),
    [
        (torch.zeros(1, 4, 16, 16).long(), PICTURES, r"labels are \(T, S\).*task of masks"),
        (torch.zeros(1, 4, 1), PICTURES, r"labels are \(T, S\), and was given.*\(1, 4, 1\)"),
        (torch.arange(4)[None] % 2, PICTURES[..., None], "takes inputs of kind image, not volume"),
        (torch.arange(4)[None] % 2, PICTURES[:, :, :, 0, 0], "of kind image, not vector"),
    ],
)
def test_labels_and_inputs_of_another_kind_are_refused_by_name(
    name: str, labels: Tensor, inputs: Tensor, complaint: str
) -> None:
    target = Target("classes", 2)
    learner = build_learner(name, None, InputSpec(1, (16, 16)), target)
    with pytest.raises(UnsupportedTaskError, match=f"^{name} .*{complaint}"):
        learner.adapt(LabelledSet(inputs, labels, IDS), target)


def test_a_class_without_an_image_is_named() -> None:
    target = Target("classes", 2)
    learner = build_learner("prototypical", None, InputSpec(1, (16, 16)), target)
    support = LabelledSet(PICTURES, torch.zeros(1, 4).long(), IDS)
    with pytest.raises(UnsupportedTaskError, match=r"prototypical .* task 0 has none of class 1"):
        adapt_task(learner, support, target)


def test_who_takes_what_another_does_not() -> None:
    values, any_way = learners_taking("values"), learners_taking("any way")
    assert {"maml", "ridge"} <= set(values)
    assert "prototypical" not in values
    assert {"prototypical", "ridge", "leo"} <= set(any_way)
    assert "maml" not in any_way
    assert {"conditioned_unet", "maml"} <= set(learners_taking("masks"))
    assert "ridge" not in learners_taking("masks")
