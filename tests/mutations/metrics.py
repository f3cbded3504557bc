"""Mutations of the metrics: disentanglement, generation, imputation, likelihood, reconstruction."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

DISENTANGLEMENT = "tests/vae/metrics/test_disentanglement.py"
GENERATION = "tests/vae/metrics/test_generation.py"
IMPUTATION = "tests/vae/metrics/test_imputation.py"
LIKELIHOOD = "tests/vae/metrics/test_likelihood.py"
RECONSTRUCTION = "tests/vae/metrics/test_reconstruction.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/metrics/disentanglement/information.py": [
        Mutation(
            "np.sort(information_LF, axis=0)[-2:]",
            "np.sort(information_LF, axis=0)[[0, -1]]",
            "MIG would be the gap to the worst dimension, which is large for every code.",
            (f"{DISENTANGLEMENT}::test_duplicate_dimension_lowers_gaps_but_not_modularity",),
        ),
        Mutation(
            "((best_F - second_F) / entropy_F).mean()",
            "(best_F - second_F).mean()",
            "MIG would exceed 1 for factors of many values.",
            (f"{DISENTANGLEMENT}::test_mig_is_the_gap_of_binned_information",),
        ),
        Mutation(
            "/ (best_L * (num_factors - 1))).mean()",
            "/ (best_L * num_factors)).mean()",
            "Modularity would be too high.",
            (f"{DISENTANGLEMENT}::test_modularity_of_a_dimension_for_two_factors_of_three",),
        ),
        Mutation(
            "if not telling_L.any():",
            "telling_L[:] = True\n    if not telling_L.any():",
            "The chance dependence of collapsed dimensions would be scored as if it meant something.",
            (f"{DISENTANGLEMENT}::test_suite_scores_a_perfect_code_one",),
        ),
    ],
    "vae/metrics/disentanglement/interventions.py": [
        Mutation(
            "active_L = codes.var(0, ddof=1) >= COLLAPSED_VARIANCE",
            "active_L = codes.var(0, ddof=1) > 0",
            "Collapsed dimensions would get the votes of FactorVAE's score.",
            (f"{DISENTANGLEMENT}::test_factor_vae_prunes_collapsed_dimensions",),
        ),
        Mutation(
            "np.stack([z[batches_SP].var(1) for z in codes.T]).argmin(0)",
            "np.stack([z[batches_SP].var(1) for z in codes.T]).argmax(0)",
            "FactorVAE's score would ask which dimension varies most.",
            (f"{DISENTANGLEMENT}::test_suite_scores_a_perfect_code_one",),
        ),
        Mutation(
            "codes = standardised(codes[:, active_L])",
            "codes = codes[:, active_L]",
            "Dimensions on a small scale would get all votes of FactorVAE's score.",
            (f"{DISENTANGLEMENT}::test_factor_vae_misses_a_factor_that_beta_vae_excludes",),
        ),
        Mutation(
            "np.abs(z[first_SP] - z[second_SP]).mean(1)",
            "(z[first_SP] - z[second_SP]).mean(1)",
            "β-VAE's score would average differences that cancel out.",
            (f"{DISENTANGLEMENT}::test_suite_scores_a_perfect_code_one",),
        ),
    ],
    "vae/metrics/disentanglement/codes.py": [
        Mutation(
            "return rows[:cut], rows[cut:]",
            "return rows[:cut], rows[: len(rows) - cut]",
            "Classifiers would be scored on the rows that they were fitted to.",
            (f"{DISENTANGLEMENT}::test_fixed_factor_scores_are_of_rows_not_trained_on",),
        ),
    ],
    "vae/metrics/disentanglement/prediction.py": [
        Mutation(
            "(balanced_accuracy - 1 / num_values) / (1 - 1 / num_values)",
            "balanced_accuracy",
            "SAP would count the chance of guessing, and its gap would be too small.",
            (f"{DISENTANGLEMENT}::test_mig_and_sap_of_half_a_factor",),
        ),
        Mutation(
            "completeness=float(np.mean([_concentration(column) for column in columns]))",
            "completeness=float(np.mean([_concentration(row) for row in importance_LF]))",
            "Completeness would be another disentanglement.",
            (f"{DISENTANGLEMENT}::test_dci_of_importances_is_the_entropy_of_the_paper",),
        ),
        Mutation(
            "weight_L @ [_concentration(row) for row in importance_LF]",
            "np.full(len(weight_L), weight_L.mean()) @ [_concentration(row) for row in importance_LF]",
            "Unused dimensions would count in DCI as much as those that matter.",
            (f"{DISENTANGLEMENT}::test_suite_scores_a_perfect_code_one",),
        ),
    ],
    "vae/metrics/disentanglement/ranking.py": [
        Mutation(
            "np.median(np.delete(row, i))",
            "np.mean(np.delete(row, i))",
            "One failed seed would lower the UDR of all others.",
            (f"{DISENTANGLEMENT}::test_udr_takes_the_median_over_the_others",),
        ),
        Mutation(
            "[:, kl > INFORMATIVE_KL_NATS])",
            ")",
            "Collapsed dimensions would lower the UDR of a model that uses few.",
            (f"{DISENTANGLEMENT}::test_udr_leaves_out_dimensions_without_information",),
        ),
    ],
    "vae/metrics/generation.py": [
        Mutation(
            "+ np.square(root_b).sum() - 2 * cross))",
            "+ np.square(root_b).sum() - cross))",
            "The Fréchet distance of equal sets would not be 0.",
            (f"{GENERATION}::test_frechet_distance_of_a_set_from_itself_is_zero",),
        ),
        Mutation(
            "/ np.sqrt(len(x_NF) - 1)",
            "/ np.sqrt(len(x_NF))",
            "The Fréchet distance would be that of biased covariances, and differ from other implementations.",
            (f"{GENERATION}::test_frechet_distance_of_gaussians_is_the_closed_form",),
        ),
        Mutation(
            "return PrecisionRecall(float(precise_M.mean()), num_recalled / len(real))",
            "return PrecisionRecall(num_recalled / len(real), float(precise_M.mean()))",
            "Precision and recall would be each other.",
            (f"{GENERATION}::test_manifold_scores_equal_plain_loops",),
        ),
        Mutation(
            "num_covered += int(inside.any(1).sum())",
            "num_covered += int(inside.any(0).sum())",
            "Coverage would count generated examples in place of real ones.",
            (f"{GENERATION}::test_manifold_scores_equal_plain_loops",),
        ),
        Mutation(
            "radii.append(square[:, k].copy())",
            "radii.append(square[:, k - 1].copy())",
            "An example would be its own nearest neighbour, and all manifolds too small.",
            (f"{GENERATION}::test_manifold_scores_equal_plain_loops",),
        ),
        Mutation(
            "return square_radius_N + ROUNDING * (square_radius_N + np.square(x_NF).sum(1))",
            "return square_radius_N",
            "Rounding would decide which copies of an example lie inside of a ball.",
            (f"{GENERATION}::test_manifold_scores_of_copies_do_not_hang_on_rounding",),
        ),
    ],
    "vae/metrics/imputation.py": [
        Mutation(
            "np.square((hidden.imputed[0] - hidden.truth) / std[hidden.column])",
            "np.square(hidden.imputed[0] - hidden.truth)",
            "Columns in large units would decide the imputation error alone.",
            (f"{IMPUTATION}::test_mse_is_in_units_of_the_standard_deviation",),
        ),
        Mutation(
            'axis=0, method="weibull")',
            "axis=0)",
            "The coverage of a few calibrated imputations would look too small.",
            (f"{IMPUTATION}::test_coverage_of_calibrated_imputations_is_their_level",),
        ),
        Mutation(
            "row_residual = np.bincount(hidden.row, covered_K - coverage)",
            "row_residual = covered_K - coverage",
            "The standard error of the coverage would ignore that entries of one row err together.",
            (f"{IMPUTATION}::test_coverage_error_counts_rows_and_not_entries",),
        ),
        Mutation(
            "np.mean([rmse for rmse in self.rmse_per_column if rmse is not None])",
            "math.sqrt(self.mse)",
            "Columns of which more was hidden would count more in the RMSE.",
            (f"{IMPUTATION}::test_mse_by_hand",),
        ),
    ],
    "vae/metrics/likelihood.py": [
        Mutation(
            "sum(variance > ACTIVE_UNIT_VARIANCE for",
            "sum(variance > 0 for",
            "Every dimension would count as an active unit.",
            (f"{LIKELIHOOD}::test_active_units_counts_dimensions_that_vary",),
        ),
        Mutation(
            "nll.sum().item() / (num_observed * math.log(2)) if has_bits else None",
            "nll.sum().item() / num_observed if has_bits else None",
            "Bits per dimension would be nats per dimension.",
            (f"{LIKELIHOOD}::test_negative_log_likelihood_states_its_protocol",),
        ),
        Mutation(
            "(own - torch.cat(among)).mean().item() + math.log(len(z))",
            "(own - torch.cat(among)).mean().item()",
            "The mutual information would be below 0.",
            (f"{LIKELIHOOD}::test_mutual_information_of_known_posteriors",),
        ),
        Mutation(
            "nll.std().item() / math.sqrt(len(nll))",
            "nll.std().item()",
            "The standard error of a likelihood would be the spread of single examples.",
            (f"{LIKELIHOOD}::test_standard_error_is_that_of_the_mean",),
        ),
    ],
    "vae/metrics/reconstruction.py": [
        Mutation(
            ".square().mean((1, 2, 3))",
            ".square().mean().expand(len(x_NCHW))",
            "All images of a batch would get the PSNR of their mean error.",
            (f"{RECONSTRUCTION}::test_metrics_are_of_each_image_alone",),
        ),
        Mutation(
            "structure = (2 * covariance + SSIM_C2)",
            "structure = (covariance + SSIM_C2)",
            "The SSIM of an image with itself would not be 1.",
            (f"{RECONSTRUCTION}::test_ssim_is_one_for_equal_images_and_symmetric",),
        ),
        Mutation(
            "weights /= weights.sum()",
            "weights /= weights.max()",
            "SSIM's window would not sum to 1, and its constants would lose their meaning.",
            (f"{RECONSTRUCTION}::test_ssim_of_flat_images_is_their_luminance",),
        ),
    ],
}
