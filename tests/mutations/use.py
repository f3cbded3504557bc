"""Mutations of what a trained model is used for: inference, its answers to callers, conditions and tables."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

IMPORTANCE = "tests/vae/inference/test_importance.py"
INFERENCE = "tests/vae/inference/test_inference.py"
SERVING = "tests/vae/test_serving.py"
PATHS = "tests/vae/inference/test_paths.py"
READING = "tests/vae/inference/answering/test_reading.py"
TASKS = "tests/vae/inference/answering/test_tasks.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/inference/importance.py": [
        Mutation(
            "return Evidence(first - math.log(num_samples), torch.exp(2 * first - second))",
            "return Evidence(first - math.log(num_samples + 1), torch.exp(2 * first - second))",
            "Every reported log-likelihood would be too low, by 0.7 nats with one draw.",
            (f"{IMPORTANCE}::test_exact_posterior_gives_the_exact_evidence_with_one_draw",),
        ),
        Mutation(
            "generator.set_state(start)  # every row",
            "pass  # every row",
            "The score of a row would depend on how much memory the machine has.",
            (f"{IMPORTANCE}::test_estimate_does_not_depend_on_the_chunks",),
        ),
    ],
    "vae/inference/coding.py": [
        Mutation(
            "return model.aggregate_posterior().sample(noise, temperature)",
            "return model.aggregate_posterior().sample(noise)",
            "The temperature would be ignored by generate with the aggregate sampler.",
            (f"{INFERENCE}::test_temperature_reaches_the_aggregate_posterior",),
        ),
        Mutation(
            "return model.sample_prior(noise, condition_NK, temperature)",
            "return model.sample_prior(noise, condition_NK)",
            "The temperature would be ignored by generate.",
            (f"{INFERENCE}::test_temperature_scales_the_latent",),
        ),
        Mutation(
            "return Evidence(-(terms.distortion + terms.rate)[0],",
            "return Evidence(-terms.distortion[0],",
            "The score of a vector-quantised model would leave out what its codes cost.",
            (f"{INFERENCE}::test_score_of_codes_is_the_bound",),
        ),
        Mutation(
            "derive(seed, Stream.GENERATION, DRAWS.index(draws))",
            "derive(seed, Stream.GENERATION)",
            "A sampled example's pixels would be drawn by the very numbers that chose its latent.",
            (f"{INFERENCE}::test_every_draw_has_a_stream_of_its_own",),
        ),
        Mutation(
            "((p.mean, p.std()) for p in posteriors)",
            "((p.mean, p.std().square()) for p in posteriors)",
            "encode would give variances in place of standard deviations.",
            (f"{INFERENCE}::test_encode_gives_the_posterior",),
        ),
    ],
    "vae/inference/denoising.py": [
        Mutation(
            "moments.add(terms.outputs, torch.zeros_like(terms.log_likelihood), rows)",
            "moments.add(terms.outputs, terms.log_weight, rows)",
            "Denoised rows would be weighed by how well they explain the noise.",
            (f"{INFERENCE}::test_denoised_is_the_mean_over_draws_with_their_spread",),
        ),
    ],
    "vae/inference/imputation.py": [
        Mutation(
            "replaced_CN = uniform_CN < (here_N - total_N[rows]).exp()",
            "replaced_CN = uniform_CN < 0.5",
            "Several imputations would mostly come from the last draws, whatever their weight.",
            ("tests/vae/inference/test_imputation.py",),
        ),
        Mutation(
            "std=found.std.masked_fill(inputs.observed, 0)",
            "std=found.std",
            "Values that were observed would come with an uncertainty.",
            (f"{SERVING}::test_imputed_image_keeps_the_pixels_that_were_there",),
        ),
    ],
    "vae/inference/estimates.py": [
        Mutation(
            "return [mean, mean.square() + self.likelihood.std(outputs).square()]",
            "return [mean, mean.square()]",
            "The uncertainty of an imputed value would leave out the likelihood's own noise.",
            (f"{INFERENCE}::test_imputed_is_the_conditional_mean",),
        ),
        Mutation(
            "self.total[rows] = self.total[rows] * shrink_N + weight_SN.sum(0)",
            "self.total[rows] = self.total[rows] + weight_SN.sum(0)",
            "Imputed values would shrink towards 0 where later draws weigh more.",
            (
                f"{INFERENCE}::test_imputed_category_is_the_most_probable_one",
                f"{INFERENCE}::test_imputed_is_the_conditional_mean",
            ),
        ),
    ],
    "vae/inference/paths.py": [
        Mutation(
            "shorter_N = length_N < shortest_N",
            "shorter_N = torch.ones_like(length_N, dtype=torch.bool)",
            "A geodesic would be the last path of the descent, which may be longer than one met before.",
            (f"{PATHS}::test_geodesic_is_the_shortest_path_met",),
        ),
        Mutation(
            "length_NT1 = torch.lerp(lengths[0][:, None, None], lengths[1][:, None, None], share_T1)",
            "length_NT1 = lengths[0][:, None, None].expand(-1, num_points, 1)",
            "A spherical path would jump at its end where the two latents differ in length.",
            (f"{PATHS}::test_spherical_path_changes_its_length_evenly",),
        ),
        Mutation(
            ".flatten(2), model.likelihood.std(outputs).flatten(2)], dim=-1)",
            ".flatten(2)], dim=-1)",
            "A geodesic would pass through regions of which the decoder is unsure, as if they were near.",
            (f"{PATHS}::test_path_length_is_of_means_and_spreads",),
        ),
        Mutation(
            "condition = _linear(first.condition, second.condition, points).flatten(0, 1)",
            "condition = _linear(first.condition, first.condition, points).flatten(0, 1)",
            "A path between two classes would end at the second latent under the first class.",
            (f"{PATHS}::test_path_between_conditions_ends_under_the_second",),
        ),
        Mutation(
            "argsort(descending=True, stable=True)",
            "argsort(stable=True)",
            "A traversal would show the collapsed dimensions first.",
            (f"{PATHS}::test_traversal_begins_with_what_carries_most",),
        ),
        Mutation(
            "z_NDTL[:, place, :, dimension] = values_T",
            "z_NDTL[:, place, :, place] = values_T",
            "A traversal would move other dimensions than it says.",
            (f"{PATHS}::test_traversal_decodes_each_row_with_one_dimension_set",),
        ),
        Mutation(
            "part.repeat_interleave(count, dim=0) for part",
            "part.repeat(count, 1) for part",
            "A traversal would decode each row under the condition of another.",
            (f"{PATHS}::test_traversal_decodes_each_row_with_one_dimension_set",),
        ),
    ],
    "vae/inference/styles.py": [
        Mutation(
            "return decode(model, encode(model, inputs).mean, target_NK,",
            "return decode(model, encode(model, inputs._replace(condition=target_NK)).mean, target_NK,",
            "transfer would encode rows as if they were of the target's class already.",
            (f"{SERVING}::test_transfer_decodes_under_the_target",),
        ),
        Mutation(
            "choices_CK[torch.stack(scores).argmax(0)]",
            "choices_CK[torch.stack(scores).argmin(0)]",
            "The least likely class of a row would be taken for its own.",
            (f"{INFERENCE}::test_condition_is_found_out_by_the_likelihood",),
        ),
    ],
    "vae/inference/editing.py": [
        Mutation(
            "encode(model, inputs).mean + strength * directions_of",
            "encode(model, inputs).mean + directions_of",
            "The strength of an edit would be ignored.",
            (f"{SERVING}::test_editing_moves_along_a_direction",),
        ),
        Mutation(
            ".of(attribute, method)",
            '.of(attribute, "means")',
            "The method of an edit would be ignored.",
            (f"{INFERENCE}::test_edit_takes_the_method_that_is_asked_for",),
        ),
    ],
    "vae/data/conditions.py": [
        Mutation(
            "codes = {category: code for code, category in enumerate(column.categories)}",
            "codes = {category: code for code, category in enumerate(sorted(column.categories, reverse=True))}",
            "Asking for a class would give another.",
            (f"{SERVING}::test_several_conditions_in_any_order",),
        ),
        Mutation(
            "return [found[name].strip() for name in names]",
            "return [text.strip() for text in found.values()]",
            "Conditions would have to be given in the model's order, and be mixed up otherwise.",
            (f"{SERVING}::test_several_conditions_in_any_order",),
        ),
    ],
    "vae/data/tables.py": [
        Mutation(
            "units = [1.0 if column.categories else column.std for column in columns]",
            "units = [1.0 for column in columns]",
            "The uncertainty of an imputed number would be told in standard deviations as if it were in its unit.",
            ("tests/vae/inference/answering/test_writing.py",),
        ),
        Mutation(
            "kept[column.name] = given.where(given.notna(), filled)",
            "kept[column.name] = filled",
            "impute would change values that were there.",
            (f"{SERVING}::test_imputed_table_keeps_what_was_there_and_its_types",),
        ),
        Mutation(
            "codes_N = np.full(len(values), np.nan)",
            "codes_N = np.zeros(len(values))",
            "A missing category of a caller's row would be taken for the first one.",
            (f"{SERVING}::test_table_rows_are_standardised_encoded_and_masked",),
        ),
    ],
    "vae/inference/answering/reading.py": [
        Mutation(
            "(255 if array.dtype == np.uint8 else 1)",
            "1",
            "Images of bytes would be refused as out of range.",
            (f"{SERVING}::test_images_may_be_bytes",),
        ),
        Mutation(
            "x, observed = x.masked_fill(missing, 0), ~missing",
            "x, observed = x.masked_fill(missing, 0), None",
            "A missing pixel would be taken for a black one.",
            (f"{SERVING}::test_missing_pixels_are_left_out",),
        ),
        Mutation(
            "derive(seed, Stream.GENERATION, 3)",
            "derive(0, Stream.GENERATION, 3)",
            "Grey images would be scored on the same binary draw whatever the seed.",
            (f"{SERVING}::test_grey_pixels_are_scored_as_binary_draws",),
        ),
        Mutation(
            "part[start::2] for part in inputs[1:]",
            "part[::2] for part in inputs[1:]",
            "The second row of a pair would be read with the gaps and the condition of the first.",
            (f"{READING}::test_rows_of_a_pair_have_their_own_gaps_and_conditions",),
        ),
        Mutation(
            "torch.full((rows, 1), math.log(request.beta)",
            "torch.full((rows, 1), request.beta",
            "A model for every β would be asked at another β than the caller's.",
            (f"{SERVING}::test_beta_is_for_models_with_gates",),
        ),
    ],
    "vae/inference/answering/tasks.py": [
        Mutation(
            'write_spreads(model, estimate.std) if request.output == "std" else write_examples(model, estimate.mean)',
            "write_examples(model, estimate.mean)",
            "denoise with output std would give the cleaned image.",
            (f"{TASKS}::test_spread_of_a_denoised_image_is_that_of_the_estimate",),
        ),
        Mutation(
            "inference.impute_many(model, inputs, request.n, num_samples=request.num_samples, seed=request.seed)",
            "inference.impute_many(model, inputs, request.n, num_samples=request.num_samples)",
            "Several imputations would be the same for every seed.",
            (f"{TASKS}::test_imputations_depend_on_their_seed",),
        ),
        Mutation(
            "extent=request.extent, num_points=request.n)",
            "num_points=request.n)",
            "The extent of a traversal would be ignored.",
            (f"{TASKS}::test_traversal_goes_as_far_as_its_extent",),
        ),
    ],
    "vae/inference/answering/writing.py": [
        Mutation(
            "values = restore(x.cpu(), model.examples).flatten(0, -2).numpy()",
            "values = x.cpu().flatten(0, -2).numpy()",
            "Rows of a table would come back standardised.",
            (f"{SERVING}::test_tables_come_back_in_their_own_units",),
        ),
    ],
    "vae/serving.py": [
        Mutation(
            "isinstance(config.posterior, FlowPosterior) or isinstance(config.prior, FlowPrior)",
            "isinstance(config.posterior, FlowPosterior) and isinstance(config.prior, FlowPrior)",
            "The environment of a registered model with a flow would lack the package that it needs.",
            (f"{SERVING}::test_requirements_are_exact",),
        ),
    ],
}
