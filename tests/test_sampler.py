import optuna
import pytest
from search_fixtures import suggest_stub

from mrisynth.search.drill.toy import score
from mrisynth.search.sampler import SeededSampler, derive_seed


def search(name: str, seed: int, trials: int, study: optuna.Study | None = None) -> list[dict]:
    study = study or optuna.create_study(direction="maximize")
    study.sampler = SeededSampler(name, seed)
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, score(suggest_stub(trial).values, 4))
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_the_same_seed_suggests_the_same(name):
    assert search(name, 3, 14) == search(name, 3, 14)
    assert search(name, 3, 14) != search(name, 4, 14)


def test_trials_differ_from_one_another():
    assert len({params["x"] for params in search("random", 0, 8)}) == 8


def test_tpe_looks_where_it_was_good():
    late = [params["x"] for params in search("tpe", 0, 40)][20:]
    assert sum(abs(x - 0.3) for x in late) / len(late) < 0.15  # random: 0.29


def test_what_was_told_decides_what_comes_next():
    studies = [optuna.create_study(direction="maximize") for _ in range(2)]
    for study, sign in zip(studies, (1, -1), strict=True):
        study.sampler = SeededSampler("tpe", 0)
        for _ in range(12):
            trial = study.ask()
            study.tell(trial, sign * score(suggest_stub(trial).values, 4))
    first, second = ([trial.params for trial in study.trials] for study in studies)
    assert first[:10] == second[:10]  # random, until there is something to learn from
    assert first[10:] != second[10:]


def test_nsga2_breeds_from_what_was_good():
    late = [params["x"] for params in search("nsga2", 0, 120)][80:]
    assert sum(abs(x - 0.3) for x in late) / len(late) < 0.2  # random: 0.29


@pytest.mark.parametrize(("name", "after"), [("tpe", 3), ("tpe", 12), ("nsga2", 3), ("nsga2", 25)])
def test_a_half_asked_trial_is_completed_as_if_undisturbed(name, after):
    whole = search(name, 5, after + 1)
    study = optuna.create_study(direction="maximize")
    search(name, 5, after, study)
    half = study.ask()
    half.suggest_float("x", 0.0, 1.0)
    # A new process: another sampler object, which finds one parameter stored.
    study.sampler = SeededSampler(name, 5)
    again = optuna.Trial(study, half._trial_id)
    suggest_stub(again)
    assert again.params == whole[-1]


def suggest_few(trial):
    """Six points, half of them behind a choice."""
    kind = trial.suggest_categorical("kind", ["plain", "bent"])
    return trial.suggest_int("bend", 0, 2) if kind == "bent" else trial.suggest_int("height", 0, 2)


@pytest.mark.parametrize("seed", range(2))
def test_what_tpe_has_learned_from_is_not_tried_again_while_there_is_anything_else(seed):
    study = optuna.create_study(direction="maximize", sampler=SeededSampler("tpe", seed))
    for _ in range(22):
        trial = study.ask()
        trial.suggest_categorical("single", ["only"])
        kind = trial.suggest_categorical("kind", ["plain", "bent"])
        study.tell(trial, trial.suggest_int("bend" if kind == "bent" else "height", 0, 14))
    points = [tuple(sorted(trial.params.items())) for trial in study.trials]
    assert all(points.index(point) == number for number, point in enumerate(points) if number >= 10)


def test_when_every_point_was_tried_they_come_again():
    study = optuna.create_study(direction="maximize", sampler=SeededSampler("tpe", 0))
    for _ in range(14):
        trial = study.ask()
        study.tell(trial, suggest_few(trial))
    assert len(study.trials) == 14


def test_a_point_that_was_lost_may_come_again():
    study = optuna.create_study(direction="maximize", sampler=SeededSampler("tpe", 0))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, params={}, distributions={}))
    for value in (0.0, 1.0):
        trial = study.ask()
        trial.suggest_categorical("one", ["only"])
        study.tell(trial, value)
    assert [trial.params for trial in study.trials[1:]] == [{"one": "only"}] * 2


def test_a_seed_depends_on_every_part():
    seeds = {derive_seed(1, 2), derive_seed(2, 1), derive_seed(1, 2, "x"), derive_seed(1, 2, "y"), derive_seed(12)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**32 for seed in seeds)


def share_by_turn(scores, wanted):
    """How often a generator is drawn where it is drawn by what it promises, and where at random; of 80 trials."""
    study = optuna.create_study(direction="maximize", sampler=SeededSampler("tpe", 0))
    turns: tuple[list[str], list[str]] = ([], [])
    for number in range(80):
        trial = study.ask()
        generator = trial.suggest_categorical("generator", list(scores))
        study.tell(trial, scores[generator](trial.suggest_float(f"{generator}.rate", 0, 1)))
        if number >= 20:
            turns[derive_seed(0, number, "turn") % 2 == 0].append(generator)
    return [generators.count(wanted) / len(generators) for generators in turns]


def test_a_generator_without_hope_of_the_best_is_drawn_by_chance_alone():
    """Forests score nearly the same whatever their parameters: better than most networks, and never the best."""
    networks = dict.fromkeys(["unet", "dcsrn", "fcn"], lambda rate: 16 + 3 * rate)
    promised, chance = share_by_turn({"forest": lambda rate: 18 + rate / 1000, **networks}, "forest")
    assert promised < 0.05
    assert 0.1 < chance < 0.45


def test_the_generator_that_promises_most_is_what_is_tried():
    poor = dict.fromkeys(["unet", "dcsrn", "fcn"], lambda rate: 15 + rate / 10)
    promised, chance = share_by_turn({"good": lambda rate: 18 + rate / 10, **poor}, "good")
    assert promised > 0.9
    assert chance < 0.45


def test_with_several_objectives_no_generator_is_preferred_by_one_of_them():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=SeededSampler("tpe", 0))
    for _ in range(30):
        trial = study.ask()
        generator = trial.suggest_categorical("generator", ["forest", "unet"])
        study.tell(trial, [18.0, 2.0] if generator == "forest" else [17.0, 1.0])
    assert len({trial.params["generator"] for trial in study.trials[15:]}) == 2


def test_a_branchs_parameters_are_drawn_after_the_best_of_that_branch():
    """Optuna's own TPE knows no good network where the best tenth of all trials are forests."""
    study = optuna.create_study(direction="maximize", sampler=SeededSampler("tpe", 0))
    for _ in range(80):
        trial = study.ask()
        if trial.suggest_categorical("generator", ["forest", "unet"]) == "forest":
            study.tell(trial, 18 + trial.suggest_float("forest.depth", 0, 1) / 1000)
        else:
            study.tell(trial, 17 - 5 * abs(trial.suggest_float("unet.rate", 0, 1) - 0.8))
    rates = [trial.params["unet.rate"] for trial in study.trials if "unet.rate" in trial.params][8:]
    assert len(rates) >= 10
    assert sum(abs(rate - 0.8) for rate in rates) / len(rates) < 0.15  # at random: 0.34
