"""Mutations of what judges runs and data: verdicts, scales, gaps, defaults, absurd values, proposals and memory."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

VERDICT = "tests/vae/training/test_verdict.py"
SCALE = "tests/vae/data/test_scale.py"
GAP = "tests/vae/metrics/test_gap.py"
SUITING = "tests/vae/config/test_suiting.py"
PLAUSIBLE = "tests/vae/data/test_plausible.py"
PROPOSALS = "tests/vae/inference/test_proposals.py"
MEMORY = "tests/vae/inference/test_memory.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/training/verdict.py": [
        Mutation(
            "best, is_over = history[history[-1].best_epoch - 1], history[-1].is_last",
            "best, is_over = history[-1], history[-1].is_last",
            "The verdict would be on the last epoch, and another ships.",
            (f"{VERDICT}::test_verdict_is_on_the_epoch_that_ships",),
        ),
        Mutation(
            "is_collapsed = not best.active_units or (is_silent and has_few_active)",
            "is_collapsed = is_silent or has_few_active",
            "A latent that tells much in a few of its dimensions would be called collapsed.",
            (f"{VERDICT}::test_run_that_is_over_has_collapsed_if_its_latents_tell_nothing",),
        ),
        Mutation(
            "is_collapsed = _is_scheduled(config) and beta > bar * critical",
            "is_collapsed = beta > bar * critical",
            "A run whose controller finds its own β would be accused of the one that it starts with.",
            (f"{VERDICT}::test_early_verdict_waits_where_a_constraint_moves_beta",),
        ),
        Mutation(
            "bar = HEAVY if isinstance(config.objective.controller, Cyclical) else bar",
            "bar = HEAVY",
            "A run under a β that is too heavy would be told nothing for nine tenths of its epochs.",
            (f"{VERDICT}::test_early_verdict_accuses_beta_above_the_critical_one",),
        ),
        Mutation(
            "foreseen = None if is_over else _foreseen_holes(config, measured)",
            "foreseen = _foreseen_holes(config, measured)",
            "A run that is over would be accused of what was feared at its start.",
            (f"{VERDICT}::test_small_beta_is_accused_before_the_rate_has_risen",),
        ),
        Mutation(
            "is_strange = gap >= (STRANGE if is_over else early)",
            "is_strange = gap >= STRANGE",
            "A decoder that has not yet learned where the prior lies would be accused of it.",
            (f"{VERDICT}::test_samples_that_are_not_of_the_data_are_under_regularised",),
        ),
        Mutation(
            "if rate - known <= EXCESS_NATS * latent_dim and scale.worth(objective.beta) <= WORTH * known:",
            "if rate - known <= EXCESS_NATS * latent_dim:",
            "Two latents that fold around a curved sheet would not be foreseen to.",
            (f"{VERDICT}::test_few_latents_are_foreseen_to_fold_around_what_the_data_is_worth",),
        ),
        Mutation(
            "if scale.hollowness < HOLLOW or scale.held_by(latent_dim) > HELD:",
            "if scale.hollowness < HOLLOW:",
            "A small β would be called harmful where the latents hold all that the data varies in.",
            (f"{VERDICT}::test_small_beta_is_not_foreseen_to_harm",),
        ),
        Mutation(
            "unexplained = max(total - sum(active), 0.0) / max(total - beta * len(active), 1e-6)",
            "unexplained = 1.0",
            "The rate that a learned noise leads to would be underestimated.",
            (f"{VERDICT}::test_expected_rate_rises_as_learned_noise_shrinks",),
        ),
        Mutation(
            "return math.ceil(EARLY * config.training.epochs)",
            "return math.floor(EARLY * config.training.epochs)",
            "A run of nine epochs would never be judged early.",
            (f"{VERDICT}::test_run_is_judged_after_a_tenth_of_its_epochs",),
        ),
        Mutation(
            "if used >= USED_CODES * posterior.codes:",
            "if used >= posterior.codes:",
            "A codebook that is in good use would be called dead.",
            (f"{VERDICT}::test_codebook_that_is_half_unused_is_a_finding",),
        ),
    ],
    "vae/data/scale.py": [
        Mutation(
            "learn, test = y_ND[0::2], y_ND[1::2]",
            "learn, test = y_ND, y_ND",
            "Directions of chance would count as what the data varies in.",
            (f"{SCALE}::test_directions_of_chance_are_not_critical",),
        ),
        Mutation(
            "noise = torch.full_like(variance_D, likelihood.initial_sigma**2)",
            "noise = torch.full_like(variance_D, likelihood.initial_sigma)",
            "The critical β of a fixed σ would be off by that σ.",
            (f"{SCALE}::test_critical_betas_of_a_fixed_sigma_are_in_its_units",),
        ),
        Mutation(
            "nats = torch.special.entr(mean_D) + torch.special.entr(1 - mean_D)",
            "nats = torch.special.entr(mean_D)",
            "A target distortion would be derived from half of what a collapsed model costs.",
            (f"{SCALE}::test_marginal_nats_of_bernoulli_pixels_are_their_entropies",),
        ),
        Mutation(
            "found = max(found, math.exp((logs - 2 * rate) / count))",
            "found = math.exp((logs - 2 * rate) / count)",
            "A preset would derive a β at which its rate is not the one that it promises.",
            (f"{SCALE}::test_beta_at_a_rate_has_that_rate",),
        ),
        Mutation(
            "between_NN.fill_diagonal_(torch.inf)",
            "between_NN.fill_diagonal_(torch.nan)",
            "No data would count as hollow, and no small β would be foreseen to harm.",
            (f"{SCALE}::test_hollowness_is_one_of_normal_data_and_more_of_a_curve",),
        ),
        Mutation(
            "return sum(self.critical_betas[:directions]) / self.total_variance if self.total_variance else 1.0",
            "return sum(self.critical_betas) / self.total_variance if self.total_variance else 1.0",
            "Two latents would seem to hold what thirty-two do.",
            (f"{SCALE}::test_share_of_variance_that_latents_hold",),
        ),
    ],
    "vae/metrics/gap.py": [
        Mutation(
            "gap = energy_distance(sampled_MD, rows_ND) - energy_distance(reconstructed_MD, rows_ND)",
            "gap = energy_distance(sampled_MD, rows_ND)",
            "Reconstructions that are blurred would be held against samples that are no worse.",
            (f"{GAP}::test_gap_does_not_blame_samples_for_a_blurred_decoder",),
        ),
        Mutation(
            "return torch.cdist(a_ND, a_ND).sum().item() / (len(a_ND) * (len(a_ND) - 1))",
            "return torch.cdist(a_ND, a_ND).mean().item()",
            "The gap of a small table would be biased.",
            (f"{GAP}::test_mean_distance_leaves_a_row_and_itself_out",),
        ),
        Mutation(
            "return gap / max(mean_distance(rows_ND), 1e-12)",
            "return gap",
            "The gap would depend on the unit of the data.",
            (f"{GAP}::test_gap_is_the_distance_of_samples_where_posteriors_lie_elsewhere",),
        ),
    ],
    "vae/config/suiting.py": [
        Mutation(
            "return self.shades > (MOST_SHADES if self.shape[0] == 1 else MOST_COLOUR_SHADES)",
            "return self.shades > MOST_SHADES",
            "Dark colour photographs would be taken for drawings, and binarised.",
            (f"{SUITING}::test_photographs_are_told_from_drawings", f"{SUITING}::test_default_suits_the_data"),
        ),
        Mutation(
            "if facts.missing_share:",
            "if not facts.missing_share:",
            "A table with gaps would be trained as one without.",
            (f"{SUITING}::test_default_suits_the_data",),
        ),
    ],
    "vae/data/plausible.py": [
        Mutation(
            "if num_above > MOST_ABSURD * count_P.sum():",
            "if num_above > count_P.sum():",
            "A second cluster of real values would be left out as absurd.",
            (
                f"{PLAUSIBLE}::test_real_columns_hold_nothing_absurd",
                f"{PLAUSIBLE}::test_blocks_of_any_size_find_what_sorting_finds",
            ),
        ),
        Mutation(
            "reach_D = FACTOR * np.where(reach_D > 0, reach_D, 1.0)",
            "reach_D = np.where(reach_D > 0, reach_D, 1.0)",
            "Validation values beyond the training range would count as missing.",
            (f"{PLAUSIBLE}::test_values_of_other_splits_are_absurd_by_the_training_range",),
        ),
    ],
    "vae/inference/proposals.py": [
        Mutation(
            "return torch.exp(2 * log_weight_SB.logsumexp(0) - (2 * log_weight_SB).logsumexp(0))",
            "return torch.exp(log_weight_SB.logsumexp(0) - (2 * log_weight_SB).logsumexp(0) / 2)",
            "The effective sample size would be its own square root.",
            (f"{PROPOSALS}::test_effective_draws_are_from_one_to_all",),
        ),
        Mutation(
            "- 0.5 * (v + latent) * torch.log1p(",
            "- 0.5 * (v + 1) * torch.log1p(",
            "The density of a proposal would be wrong, and with it every score that is drawn from one.",
            (f"{PROPOSALS}::test_density_of_draws_is_the_multivariate_students",),
        ),
        Mutation(
            "weight_SB = torch.softmax(log_weight_SB * _power(log_weight_SB), 0)",
            "weight_SB = torch.softmax(log_weight_SB, 0)",
            "A proposal would collapse on its one best draw.",
            (f"{PROPOSALS}::test_fit_rests_on_many_draws_where_one_has_all_the_weight",),
        ),
    ],
    "vae/inference/memory.py": [
        Mutation(
            "size = max(1, rows_within(model) // num_samples) if num_rows > 1 else 1",
            "size = rows_within(model) if num_rows > 1 else 1",
            "Importance sampling with many draws would take as many times the memory.",
            (f"{MEMORY}::test_chunks_count_every_latent_that_a_row_is_decoded_from",),
        ),
        Mutation(
            "return max(1, (BUDGET_BYTES if budget_bytes is None else budget_bytes) // _ROW_BYTES[model])",
            "return max(1, BUDGET_BYTES // _ROW_BYTES[model])",
            "A budget that is asked for would be ignored.",
            (f"{MEMORY}::test_rows_follow_the_budget",),
        ),
    ],
}
