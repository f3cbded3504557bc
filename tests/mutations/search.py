"""Mutations of searches: spaces, stacks, scores, the choice of a trial, and what the bound depends on."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SPACE = "tests/tuning/test_space.py"
STACKS = "tests/tuning/test_stacks.py"
SCORES = "tests/tuning/test_scores.py"
IMPORTANCE = "tests/tuning/test_importance.py"
TRIAL = "tests/tuning/test_trial.py"
FRONTIER = "tests/tuning/test_frontier.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "tuning/space.py": [
        Mutation(
            "if low >= high or (dimension.log and low <= 0):",
            "if low > high or (dimension.log and low < 0):",
            "A range of the logarithm from 0 would fail in the middle of a search.",
            (f"{SPACE}::test_bad_space_is_refused",),
        ),
        Mutation(
            "ends = (low, high, low + (high - low) / math.pi)",
            "ends = (low, high)",
            "A real range over a field of whole numbers would fail at its first draw.",
            (f"{SPACE}::test_real_range_over_whole_numbers_is_refused",),
        ),
        Mutation(
            "labels(dimension)[value] if isinstance(dimension, Choice) else value",
            "value",
            "A trial would be configured with the label of an encoder in place of the encoder.",
            (f"{SPACE}::test_configuration_of_a_trial_puts_labels_back",),
        ),
        Mutation(
            "named[json.dumps(value, sort_keys=True) if label in named else label] = value",
            "named[label] = value",
            "Two similar encoders would become one choice.",
            (f"{SPACE}::test_labels_of_similar_values_differ",),
        ),
        Mutation(
            "size *= len(dimension.values)",
            "size += len(dimension.values)",
            "A search of every combination would stop before all were tried.",
            (f"{SPACE}::test_default_space_is_accepted",),
        ),
    ],
    "tuning/stacks.py": [
        Mutation(
            'return override(config, {"training.data_seed": search.base.training.seed_of_data}, "search")',
            "return config",
            "Lanes with different seeds would be shown different batches, and no stack could train them.",
            (f"{STACKS}::test_lanes_of_a_trial_are_a_stack",),
        ),
        Mutation(
            "[parameters.get(STACK, 0) :: self.division]",
            "[0 :: self.division]",
            "Two workers would train the same lanes, and the others never.",
            (f"{STACKS}::test_divided_lanes_are_all_there_once",),
        ),
        Mutation(
            "return rounds * (1 + seeds * math.ceil(parts.settings / division))",
            "return rounds * seeds * math.ceil(parts.settings / division)",
            "Lanes would be spread over stacks that cost more than they save.",
            (f"{STACKS}::test_lanes_are_divided_so_that_workers_are_busy",),
        ),
        Mutation(
            "if search.num_trials is not None and search.num_trials < architectures:",
            "if search.num_trials is not None and search.num_trials < 1:",
            "A search of few trials would leave out settings of the architectures that it draws.",
            (f"{STACKS}::test_lanes_stay_together_where_not_all_architectures_are_tried",),
        ),
        Mutation(
            "fitting = int((bytes_of_a_trial - data) // needed)",
            "fitting = int(bytes_of_a_trial // needed)",
            "A stack would be begun that runs out of memory once its data is loaded.",
            (f"{STACKS}::test_stack_that_would_not_fit_is_refused_with_the_number_that_would",),
        ),
        Mutation(
            "named = json.dumps(drawn, sort_keys=True).encode()",
            "named = json.dumps(drawn).encode()",
            "A trial that is taken up again would not find its checkpoints if its parameters come in another order.",
            (f"{STACKS}::test_checkpoints_of_a_trial_are_found_in_any_order_of_its_parameters",),
        ),
        Mutation(
            "(bytes_of_a_lane(one, dataset), one) for one in variants(search)), key=lambda pair: pair[0])",
            "(bytes_of_a_lane(one, dataset), one) for one in variants(search)), key=lambda pair: -pair[0])",
            "The memory of a search would be judged by its smallest model.",
            (f"{STACKS}::test_stack_that_would_not_fit_is_refused_with_the_number_that_would",),
        ),
    ],
    "tuning/scores.py": [
        Mutation(
            "setting = override(config, {SEED: 0}).model_dump",
            "setting = config.model_dump",
            "No seed would be compared with another, and UDR would score nothing.",
            (f"{SCORES}::test_udr_leaves_out_lanes_that_failed",),
        ),
        Mutation(
            "return max(float(model.examples.num_values), abs(bound.negative_elbo))",
            "return abs(bound.negative_elbo)",
            "The reference point of a density's front could be near 0, and no front would count.",
            (f"{SCORES}::test_reference_is_of_the_untrained_base",),
        ),
        Mutation(
            'return {rule: measure(model.cpu(), dataset, [family], split="validation")[name]}',
            'return {rule: measure(model.cpu(), dataset, [family], split="test")[name]}',
            "A search would choose by the test split, and its winner's test scores would be too good.",
            (f"{SCORES}::test_measured_rules_are_of_the_validation_split",),
        ),
        Mutation(
            "negative_log_likelihood(model, batches, num_samples=NUM_SAMPLES, seed=0).nats",
            "negative_log_likelihood(model, batches, num_samples=1, seed=0).nats",
            "A search by nll would in truth choose by the ELBO.",
            (f"{SCORES}::test_measured_rules_are_of_the_validation_split",),
        ),
    ],
    "tuning/importance.py": [
        Mutation(
            "FloatDistribution(-0.5, max(found) + 0.5)",
            "FloatDistribution(0.0, max(found))",
            "The first and the last choice of a dimension would weigh half.",
            (f"{IMPORTANCE}::test_every_choice_weighs_the_same",),
        ),
        Mutation(
            "normalize=False)",
            "normalize=True)",
            "What lies in combinations would be told as the dimensions' own.",
            (f"{IMPORTANCE}::test_what_lies_in_a_combination_is_no_dimensions_own",),
        ),
        Mutation(
            "return [float(known.index(value)) for value in values]",
            "return [float(value) if isinstance(value, float) else float(known.index(value)) for value in values]",
            "Of weights far apart only the largest would seem to matter.",
            (f"{IMPORTANCE}::test_shares_of_a_sum_are_those_of_its_terms",),
        ),
    ],
    "tuning/trial.py": [
        Mutation(
            "return min((epoch[",
            "return max((epoch[",
            "A stack would be stopped for its worst lane.",
            (f"{SCORES}::test_trials_are_compared_by_their_best_lane",),
        ),
        Mutation(
            "return -hypervolume(front, self._reference_nats, self._reference_nats)",
            "return hypervolume(front, self._reference_nats, self._reference_nats)",
            "The stacks with the best fronts would be stopped first.",
            (f"{SCORES}::test_trials_are_compared_by_their_fronts",),
        ),
        Mutation(
            "return last.step / last.epoch / seconds",
            "return last.step / seconds",
            "A trial would seem the faster the longer it has run.",
            (f"{TRIAL}::test_speed_is_that_of_the_last_epoch",),
        ),
    ],
    "tuning/frontier.py": [
        Mutation(
            "if trial.distortion < lowest:",
            "if trial.distortion <= lowest:",
            "Trials that another beats would stand on the front.",
            (f"{FRONTIER}::test_pareto_keeps_what_none_beats",),
        ),
        Mutation(
            "return stdev(self.scores) / math.sqrt(len(self.scores))",
            "return stdev(self.scores)",
            "The standard error of a setting would be the spread of its seeds.",
            (f"{FRONTIER}::test_a_lucky_seed_does_not_win",),
        ),
        Mutation(
            "return -found if found is not None and rule in MORE_IS_BETTER else found",
            "return found",
            "A search by mig would choose the worst model.",
            (f"{FRONTIER}::test_scores_are_compared_the_right_way_round",),
        ),
    ],
}
