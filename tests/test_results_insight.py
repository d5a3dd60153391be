"""What a search learned, against searches whose answer is known."""

import json
from datetime import timedelta

import numpy as np
import pytest
from insight_fixtures import BEGAN, DOMAINS, index_of, known_trials, trial, write_known
from results_fixtures import finish, make_sweep

from mrisynth.errors import NotFoundError
from mrisynth.results.index import Indexer, read_index
from mrisynth.results.insight.domains import Domain, column_values, searched_domains
from mrisynth.results.insight.edges import edges
from mrisynth.results.insight.importance import LEAST, importance
from mrisynth.results.insight.judged import judge
from mrisynth.results.insight.parallel import parallel_lines
from mrisynth.results.insight.progress import hypervolume, progress
from mrisynth.results.insight.stability import seed_stability, subject_stability
from mrisynth.results.insight.summary import importance_sentence, insight
from mrisynth.results.insight.survival import Rung, family_spreads, rung_survival
from mrisynth.results.ranking import kendall

FIVE = {f"x{at}": {"float": [0.0, 1.0]} for at in range(5)}


def scored(points, score, *, domains=FIVE, **fields):
    """An index with one completed trial a point: path to value."""
    trials = [trial(number, point, {"psnr": float(score(point))}, **fields) for number, point in enumerate(points)]
    return index_of(trials, domains)


def draws(count, *, seed=0):
    rng = np.random.default_rng(seed)
    return [{path: float(rng.random()) for path in FIVE} for _ in range(count)]


@pytest.fixture(scope="module")
def known():
    return index_of(known_trials(300), DOMAINS)


# Importance


def test_the_two_of_five_that_matter_come_first_and_alone_pass_chance():
    index = scored(draws(200), lambda point: -8 * (point["x3"] - 0.3) ** 2 + 2 * point["x1"])
    found = importance(index, "psnr")
    assert {each.path for each in found.parameters[:2]} == {"x1", "x3"}
    assert [each.above_noise for each in found.parameters] == [True, True, False, False, False]
    assert all(each.low <= each.share <= each.high for each in found.parameters)
    assert found.explained > 0.7


def test_the_shares_are_those_of_the_variance():
    # Of a sum of two independent terms with variances 4 to 1 the total effects are 0.8 and 0.2; a forest smooths.
    index = scored(draws(1200), lambda point: 2 * point["x0"] + point["x1"])
    shares = {each.path: each.share for each in importance(index, "psnr").parameters}
    assert shares["x0"] == pytest.approx(0.8, abs=0.15)
    assert shares["x1"] == pytest.approx(0.2, abs=0.06)


def test_parameters_that_matter_only_together_are_found():
    index = scored(draws(600), lambda point: float((point["x0"] > 0.5) == (point["x4"] > 0.5)))
    found = importance(index, "psnr")
    assert {each.path for each in found.parameters if each.above_noise} == {"x0", "x4"}


def test_pure_chance_is_told_from_importance():
    rng = np.random.default_rng(5)
    found = importance(scored(draws(100), lambda _: rng.random()), "psnr")
    assert not any(each.above_noise for each in found.parameters)
    assert found.explained < 0.1
    assert "no searched parameter stands out from chance" in importance_sentence(found)


def test_the_same_seed_gives_the_same(known):
    assert importance(known, "psnr", repeats=2) == importance(known, "psnr", repeats=2)


def test_a_choice_matters_as_a_number_does_and_a_branch_keeps_its_own_effect(known):
    found = {each.path: each for each in importance(known, "psnr").parameters}
    assert [path for path, each in found.items() if each.above_noise][:3] == [
        "optimizer.generator_lr",
        "generator",
        "losses.l1",
    ]
    # Only half of the trials have it; that they do is the generator's merit.
    assert found["unet.levels"].trials < found["generator"].trials
    assert found["unet.levels"].share < 0.2 * found["generator"].share


def test_it_counts_what_it_rests_on(known):
    found = importance(known, "psnr", family="gan")
    outcomes = [
        row for row in known.trials.to_pylist() if row["family"] == "gan" and row["outcome"] in ("completed", "pruned")
    ]
    done = sum(row["outcome"] == "completed" for row in outcomes)
    assert found.counted == f"{done} completed and {len(outcomes) - done} pruned trials"
    assert found.trials == len(outcomes) == found.parameters[0].trials


def test_with_fewer_than_twenty_trials_nothing_is_said():
    index = scored(draws(LEAST - 1), lambda point: point["x0"])
    found = importance(index, "psnr")
    assert found.parameters == ()
    assert found.refusal == "Importance by psnr needs at least 20 trials that ended with a score; there are 19 so far."
    assert importance(scored(draws(LEAST), lambda point: point["x0"]), "psnr").refusal == ""


def test_equal_scores_and_settings_that_never_varied_say_why():
    assert "have the same psnr" in importance(scored(draws(30), lambda _: 1.0), "psnr").refusal
    rng = np.random.default_rng(0)
    alike = importance(scored([{"x0": 0.5}] * 30, lambda _: rng.random()), "psnr")
    assert alike.refusal.startswith("No searched parameter has two different values")


def test_parameters_that_few_trials_have_are_named_with_their_number():
    points = [{**point, **({"rare": 0.5 * at} if at < 3 else {})} for at, point in enumerate(draws(40))]
    index = scored(points, lambda point: point["x0"], domains={**FIVE, "rare": {"float": [0, 1]}})
    assert importance(index, "psnr", repeats=1).too_few == {"rare": 3}


# Which trials are judged


def test_pruned_trials_stand_below_the_completed_ones_the_earlier_the_worse():
    endings = [{}, {"outcome": "pruned", "rung": 9, "epochs": 9}, {"outcome": "pruned", "rung": 18, "epochs": 18}]
    values = [20.0, 30.0, 25.0]
    trials = [
        trial(at, {}, {"psnr": value}, **end) for at, (value, end) in enumerate(zip(values, endings, strict=True))
    ]
    assert judge(index_of(trials, {}), "psnr").quality.tolist() == [1.0, 0.0, 0.5]


def test_pruned_trials_count_only_for_the_one_objective_that_pruned_them():
    trials = [
        trial(0, {}, {"psnr": 20.0, "mae": 0.1}),
        trial(1, {}, {"psnr": 19.0, "mae": 0.2}, outcome="pruned", rung=9, epochs=9),
        trial(2, {}, {"psnr": 19.0, "mae": 0.2}, outcome="pruned", reason="stopped", epochs=9),
        trial(3, {}, {}, outcome="rejected", reason="diverged", epochs=2),
    ]
    one = index_of(trials, {})
    assert judge(one, "psnr").rows.tolist() == [0, 1]
    assert judge(one, "mae").rows.tolist() == [0]
    two = index_of(trials, {}, objectives={"psnr": "maximize", "mae": "minimize"})
    assert judge(two, "psnr").rows.tolist() == [0]
    assert judge(one, "unknown").rows.tolist() == []


def test_less_is_better_where_it_is():
    trials = [trial(at, {}, {"mae": value}) for at, value in enumerate((0.3, 0.1, 0.2))]
    assert judge(index_of(trials, {}, objectives={"mae": "minimize"}), "mae").quality.tolist() == [0.0, 1.0, 0.5]


# Domains


def test_the_driver_keeps_the_ranges_in_the_manifest_and_an_older_index_does_without(tmp_path):
    sweep = finish(make_sweep(tmp_path))
    domains = {"optimizer.generator_lr": {"float": [1e-9, 1e-2], "log": True}}
    described = Indexer(sweep, domains=domains, searched=list(domains)).build()
    lr = searched_domains(described)["optimizer.generator_lr"]
    assert (lr.low, lr.high, lr.log, lr.declared) == (1e-9, 1e-2, True, True)
    observed = searched_domains(read_index(sweep))
    assert observed["generator"] == Domain("generator", choices=("fcn", "unet"), declared=False)
    assert (observed["optimizer.generator_lr"].log, observed["optimizer.generator_lr"].declared) == (True, False)


@pytest.mark.parametrize(("low", "high", "log"), [(0.1, 100.0, True), (-2.0, 6.0, False)])
def test_a_place_is_the_inverse_of_a_value(low, high, log):
    domain = Domain("x", low, high, log=log)
    places = np.array([0.0, 0.25, 1.0])
    assert domain.place(np.array([domain.value(place) for place in places])) == pytest.approx(places)


def test_values_outside_of_the_range_were_not_drawn_from_it():
    index = scored([{"w": 0.0}, {"w": 3.0}, {}], lambda _: 1.0, domains={"w": {"float": [0.1, 300.0], "log": True}})
    assert np.isnan(column_values(index, searched_domains(index)["w"])).tolist() == [True, False, True]


def test_choices_of_numbers_lists_and_words_are_read_alike():
    spec = {"choice": [[3, 5], 4, "none", True]}
    index = scored([{"c": [3, 5]}, {"c": 4}, {"c": "none"}, {"c": True}], lambda _: 1.0, domains={"c": spec})
    assert column_values(index, searched_domains(index)["c"]).tolist() == ["[3, 5]", "4", "none", "true"]


# Edges


def test_a_best_at_the_edge_of_a_logarithmic_range_says_to_widen_it(known):
    found = edges(known, "psnr")
    assert {(edge.path, edge.end) for edge in found} >= {("losses.l1", "upper")}
    assert not {edge.path for edge in found} & {"optimizer.generator_lr", "optimizer.batch_size"}
    (edge,) = (edge for edge in found if edge.path == "losses.l1")
    assert edge.from_value == pytest.approx(10 ** (2 - 0.3))
    assert edge.sentence.startswith("The best lies at the upper end of the range of losses.l1 (0.1 to 100, log): ")
    assert edge.sentence.endswith("lie above 50.1, in its outermost tenth. Widen it.")


def crowd(values, spec):
    """Edges where the k-th best trial has the k-th value."""
    index = scored([{"x": value} for value in values], lambda _: 0.0, domains={"x": spec})
    trials = [trial(at, {"x": value}, {"psnr": -float(at)}) for at, value in enumerate(values)]
    return edges(index_of(trials, index.manifest["domains"]), "psnr")


def test_one_good_trial_at_the_edge_is_no_crowd():
    middle = np.linspace(0.3, 0.7, 29).tolist()
    assert crowd([0.99, *middle], {"float": [0.0, 1.0]}) == []
    assert crowd([0.99, 0.98, 0.97, 0.96, *middle], {"float": [0.0, 1.0]}) == []
    (edge,) = crowd([0.99, 0.98, 0.97, 0.96, 0.95, *middle], {"float": [0.0, 1.0]})
    assert (edge.end, edge.crowd, edge.top) == ("upper", 5, 10)


def test_whole_numbers_crowd_at_the_bound_itself():
    # Distinct configurations are counted: another parameter tells them apart.
    points = [{"x": 2 if at < 8 else 4 + at % 4, "y": at} for at in range(30)]
    trials = [trial(at, point, {"psnr": -float(at)}) for at, point in enumerate(points)]
    (edge,) = edges(index_of(trials, {"x": {"int": [2, 9]}, "y": {"int": [-50, 80]}}), "psnr")
    assert edge.sentence == (
        "The best lies at the lower end of the range of x (2 to 9): 8 of the 10 best configurations lie at 2. Widen it."
    )
    alike = [trial(at, {"x": 2 if at < 8 else at - 4}, {"psnr": -float(at)}) for at in range(12)] * 2
    assert edges(index_of(alike, {"x": {"int": [2, 9]}}), "psnr") == []


def test_few_trials_and_undeclared_ranges_have_no_edge():
    points = [{"x0": 0.99 - 0.001 * at} for at in range(19)]
    assert edges(scored(points, lambda point: point["x0"]), "psnr") == []
    many = [{"x0": 0.99 - 0.001 * at} for at in range(30)]
    index = scored(many, lambda point: point["x0"])
    assert [edge.path for edge in edges(index, "psnr")] == ["x0"]
    index.manifest["domains"] = {}
    assert edges(index, "psnr") == []


# Progress


def test_the_best_so_far_goes_by_core_hours_in_the_order_of_ending():
    ends = [BEGAN + timedelta(hours=hour) for hour in (2, 1, 3)]
    values = [25.0, 24.0, 23.0]
    trials = [trial(at, {}, {"psnr": value}, ended=ends[at]) for at, value in enumerate(values)]
    trials.append(trial(3, {}, {"psnr": 99.0}, outcome="pruned", rung=9, epochs=9, ended=BEGAN, seconds=1800.0))
    found = progress(index_of(trials, {}))
    assert found.trials.tolist() == [1, 0, 2]
    assert found.hours.tolist() == [1.5, 2.5, 3.5]
    assert progress(index_of(trials, {}, resources={"cpu": 2.0})).hours.tolist() == [3.0, 5.0, 7.0]
    assert found.reached.tolist() == [24.0, 25.0, 25.0]


@pytest.mark.parametrize(
    ("points", "corner", "volume"),
    [
        ([[1.0]], [0.0], 1.0),
        ([[3, 1], [2, 2], [1, 3]], [0, 0], 6.0),
        ([[3, 1], [2, 2], [1, 3], [1, 1]], [0, 0], 6.0),
        ([[1, 1, 1], [2, 1, 0.5]], [0, 0, 0], 1.5),
        ([[-1, 5]], [0, 0], 0.0),
    ],
)
def test_the_hypervolume_is_the_volume(points, corner, volume):
    assert hypervolume(np.array(points, float), np.array(corner, float)) == pytest.approx(volume)


def test_the_hypervolume_by_cost_states_its_reference():
    rows = [(20.0, 0.3), (22.0, 0.2), (21.0, 0.1)]
    trials = [trial(at, {}, {"psnr": psnr, "mae": mae}) for at, (psnr, mae) in enumerate(rows)]
    index = index_of(trials, {}, objectives={"psnr": "maximize", "mae": "minimize"})
    found = progress(index)
    assert found.reference == {"psnr": 20.0, "mae": pytest.approx(0.3)}
    assert found.reached.tolist() == pytest.approx([0.0, 0.2, 0.3])
    given = progress(index, reference={"psnr": 19.0, "mae": 0.4})
    assert given.reached.tolist() == pytest.approx([0.1, 0.6, 0.8])


# Stability


def test_other_seeds_of_one_configuration_tell_what_chance_is_worth():
    scores = {1.0: (20.0, 20.2), 2.0: (21.0, 20.8), 3.0: (22.0, 22.2), 4.0: (25.0,)}
    runs = [(lr, seed, value) for lr, values in scores.items() for seed, value in enumerate(values)]
    trials = [trial(at, {"lr": lr, "seed": seed}, {"psnr": value}) for at, (lr, seed, value) in enumerate(runs)]
    found = seed_stability(index_of(trials, {}), "psnr")
    assert [each.trials for each in found.repeated] == [(4, 5), (2, 3), (0, 1)]
    assert found.repeated[0].places == (2.0, 1.0)
    assert found.seed_deviation == pytest.approx(0.2 / 2**0.5)
    assert found.tau == 1.0


def test_without_repeated_seeds_the_stability_is_not_known(known):
    assert "not known how far chance alone" in seed_stability(known, "psnr").refusal


def test_a_place_that_hangs_on_one_subject_is_found():
    table = {0: (30.0, 20.0, 20.0), 1: (22.0, 22.0, 22.0), 2: (10.0, 10.0, 10.0)}
    trials = [
        trial(at, {}, {"psnr": sum(own) / 3}, subjects={f"rat-{i}": {"psnr": value} for i, value in enumerate(own)})
        for at, own in table.items()
    ]
    found = subject_stability(index_of(trials, {}), "psnr")
    first, second, third = found.places
    assert (first.trial, first.place, first.best, first.worst) == (0, 1.0, 1.0, 2.0)
    assert first.without == {"rat-0": 2.0, "rat-1": 1.0, "rat-2": 1.0}
    assert (second.worst, third.best, third.worst) == (2.0, 3.0, 3.0)
    assert found.tau == pytest.approx(1 / 3)


def test_one_subject_cannot_be_left_out():
    trials = [trial(at, {}, {"psnr": 20.0 + at}, subjects={"rat": {"psnr": 20.0 + at}}) for at in range(3)]
    assert "at least two of each" in subject_stability(index_of(trials, {}), "psnr").refusal


def test_kendalls_tau_counts_pairs():
    assert kendall(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])) == pytest.approx(4 / 6)
    assert kendall(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == pytest.approx(2 / 6**0.5)
    assert kendall(np.array([1.0, 1]), np.array([1.0, 2])) is None


# Families


def test_the_rungs_count_who_came_so_far():
    pruned = {"outcome": "pruned", "rung": 9, "epochs": 9}
    gan = {"adversary": "pooled"}
    trials = [
        *(trial(at, {}, {"psnr": 20.0}) for at in range(3)),
        *(trial(at, {}, {"psnr": 20.0}, **pruned) for at in (3, 4)),
        trial(5, {}, {}, outcome="rejected", epochs=2),
        trial(6, gan, {"psnr": 20.0}),
        trial(7, gan, {}, outcome="queued", epochs=0),
    ]
    assert rung_survival(index_of(trials, {})) == [
        Rung("cnn", 0.0, 6, 0),
        Rung("cnn", 0.3, 5, 2),
        Rung("cnn", 1.0, 3, 0),
        Rung("gan", 0.0, 1, 0),
        Rung("gan", 1.0, 1, 0),
    ]


def test_the_families_are_told_by_their_completed_trials():
    values = {"none": (20.0, 21.0, 22.0), "pooled": (19.0, 25.0, 26.0)}
    rows = [(adversary, value) for adversary, own in values.items() for value in own]
    trials = [trial(at, {"adversary": adversary}, {"psnr": value}) for at, (adversary, value) in enumerate(rows)]
    first, second = family_spreads(index_of(trials, {}), "psnr")
    assert (first.family, first.trials, first.median, first.best) == ("gan", 3, 25.0, 5)
    assert (second.family, second.least, second.lower, second.most) == ("cnn", 20.0, 20.5, 22.0)


# Lines


def test_lines_keep_what_is_missing_and_draw_the_best_last(known):
    lines = parallel_lines(known, "psnr", ("unet.levels", "losses.l1", "unknown"))
    assert [axis.path for axis in lines.axes] == ["unet.levels", "losses.l1"]
    assert lines.axes[1].log
    assert list(lines.scores) == sorted(lines.scores)
    generators = dict(zip(known.trials["trial"].to_pylist(), known.trials["generator"].to_pylist(), strict=True))
    for number, (levels, _) in zip(lines.trials, lines.values, strict=True):
        assert (levels is None) == (generators[number] == "dcgan")


def test_of_many_lines_the_best_and_an_even_choice_of_the_rest_stay(known):
    every, some = (parallel_lines(known, "psnr", ("losses.l1",), most=most) for most in (1000, 20))
    assert len(some.trials) == 20
    assert some.of == every.of == len(every.trials)
    assert some.trials[-10:] == every.trials[-10:]
    assert some.trials[0] == every.trials[0]


# The command


def test_the_command_tells_what_was_learned(tmp_path, command):
    sweep = write_known(tmp_path, known_trials(120))
    answer = command("insight", sweep.root)
    assert answer.code == 0
    assert "optimizer.generator_lr" in answer.stdout
    assert "The best lies at the upper end of the range of losses.l1" in answer.stdout
    data = json.loads(command("insight", sweep.root, "--json", "--family", "gan").stdout)
    assert data["importance"][0]["parameters"][0]["path"] in ("optimizer.generator_lr", "generator")
    assert [each["family"] for each in data["importance"]] == ["gan"]


def test_the_command_names_the_metrics_and_families_there_are(tmp_path, command):
    sweep = write_known(tmp_path, known_trials(10))
    assert "there are: psnr, ssim" in command("insight", sweep.root, "--by", "beauty").stderr
    assert command("insight", sweep.root, "--family", "forest").code == NotFoundError.exit_code


def test_a_sweep_without_trials_is_answered_in_sentences(tmp_path, command):
    sweep = write_known(tmp_path, [])
    answer = command("insight", sweep.root)
    assert (answer.code, "there are 0 so far" in answer.stdout) == (0, True)
    assert insight(read_index(sweep))["progress"]["reached"] == []
