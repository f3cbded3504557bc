"""Mutations of what a model is made of: likelihoods, posteriors, priors, flows, codebooks."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LIKELIHOOD_LAWS = "tests/laws/test_likelihood_laws.py"
POSTERIOR_LAWS = "tests/laws/test_posterior_laws.py"
PRIOR_LAWS = "tests/laws/test_prior_laws.py"
MODEL_LAWS = "tests/laws/test_model_laws.py"
LIKELIHOODS = "tests/vae/parts/test_likelihoods.py"
POSTERIORS = "tests/vae/parts/test_posteriors.py"
PRIORS = "tests/vae/parts/test_priors.py"
QUANTIZATION = "tests/vae/parts/test_quantization.py"
MODEL = "tests/vae/test_model.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/parts/likelihoods/families.py": [
        Mutation(
            "(params[0].sigmoid() * (-params[0]).sigmoid()).sqrt()",
            "(params[0].sigmoid() * params[0].sigmoid()).sqrt()",
            "The spread of a binary pixel would grow with its brightness, and sure white pixels would look unsure.",
            (f"{LIKELIHOOD_LAWS}::test_mean_and_std_are_the_densitys",),
        ),
        Mutation(
            "(uniform(probability, generator) < probability)",
            "(uniform(probability, generator) > probability)",
            "Samples of a Bernoulli model would be photographic negatives.",
            (f"{LIKELIHOOD_LAWS}::test_samples_come_from_the_density",),
        ),
        Mutation(
            "square * (1 / 6 - square * (1 / 180 -",
            "square * (1 / 6 - square * (1 / 160 -",
            "The continuous Bernoulli would not integrate to 1 near grey, so that its scores could not be compared.",
            (f"{LIKELIHOODS}::test_continuous_bernoulli_is_exact_near_one_half",),
        ),
        Mutation(
            "torch.where(near, series, 1 / torch.tanh(h) - 1 / h)",
            "torch.where(near, series, 1 / torch.tanh(h))",
            "Reconstructions by a continuous Bernoulli would be too bright or too dark.",
            (f"{LIKELIHOOD_LAWS}::test_mean_and_std_are_the_densitys",),
        ),
        Mutation(
            "return (-torch.expm1(params.amax(0) - params.logsumexp(0))).clamp(min=0).sqrt()",
            "return (-torch.expm1(params.amax(0) - params.logsumexp(0))).clamp(min=0)",
            "The announced error of an imputed category would be far too small.",
            (f"{LIKELIHOOD_LAWS}::test_mean_and_std_are_the_densitys",),
        ),
        Mutation(
            "(members * grey[:, None]).sum(0) / (255 * members.sum(0))",
            "(members * grey[:, None]).amax(0) / 255",
            "Images from a model of grey levels would be too bright.",
            (f"{LIKELIHOODS}::test_levels_share_the_grey_values",),
        ),
        Mutation(
            "(x > 0.5 / 255).to(x.dtype)",
            "(x > 1.5 / 255).to(x.dtype)",
            "The second darkest level would get the tail of the darkest as well, and probabilities would exceed 1.",
            (f"{LIKELIHOODS}::test_discretized_logistic_is_the_difference_of_distribution_functions",),
        ),
        Mutation(
            "(location + log_scale.exp() * noise).clamp(0, 1) * 255).round() / 255",
            "(location + log_scale.exp() * noise).clamp(0, 1) * 255) / 255",
            "Samples of a discretised logistic would lie between the 256 levels that have a probability.",
            (f"{LIKELIHOODS}::test_discretized_logistic_draws_grey_values",),
        ),
        Mutation(
            "(logits - exponential(logits, generator).log()).argmax(0)",
            "(logits + exponential(logits, generator).log()).argmax(0)",
            "Categories and components of mixtures would be drawn with wrong probabilities.",
            (f"{LIKELIHOOD_LAWS}::test_samples_come_from_the_density",),
        ),
    ],
    "vae/parts/likelihoods/location_scale.py": [
        Mutation(
            "return -noise.abs() - math.log(2)",
            "return -noise.abs()",
            "Every Laplace density would be twice too large, and its scores too good by log 2 a value.",
            (f"{LIKELIHOOD_LAWS}::test_likelihood_sums_to_one",),
        ),
        Mutation(
            "return exponential(raw[0], generator) - exponential(raw[0], generator)",
            "return exponential(raw[0], generator)",
            "Samples of a Laplace model would all lie above their mean.",
            (f"{LIKELIHOOD_LAWS}::test_samples_come_from_the_density",),
        ),
    ],
    "vae/parts/likelihoods/examples.py": [
        Mutation(
            "return (entries * weight).flatten(2).sum(-1)",
            "return entries.flatten(2).sum(-1)",
            "Missing values would be scored as if they were zeros.",
            (f"{LIKELIHOOD_LAWS}::test_disjoint_masks_add_up",),
        ),
        Mutation(
            'self.register_buffer("inverse_D", order.argsort(), persistent=False)',
            'self.register_buffer("inverse_D", order, persistent=False)',
            "Columns of a table would come back in each other's places.",
            (f"{LIKELIHOODS}::test_table_is_the_densities_of_its_columns",),
        ),
        Mutation(
            ".unflatten(-3, (self.family.num_params, -1)).movedim(-4, 0)",
            ".unflatten(-3, (-1, self.family.num_params)).movedim(-3, 0)",
            "Parameters and channels of colour images would be mixed up.",
            (f"{LIKELIHOODS}::test_density_is_that_of_torch_distributions",),
        ),
        Mutation(
            "return outputs.float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs",
            "return outputs",
            "Under bfloat16 the log-likelihood of an image would be a sum with three digits.",
            (f"{LIKELIHOOD_LAWS}::test_densities_are_float32_from_half_precision",),
        ),
    ],
    "vae/parts/likelihoods/build.py": [
        Mutation(
            "return scale(config.initial_sigma, LOG_PIXEL_FLOOR)",
            "return scale(INITIAL_SCALE, LOG_PIXEL_FLOOR)",
            "initial_sigma of a trained σ would be ignored.",
            (f"{LIKELIHOODS}::test_configured_sigma_is_where_it_starts",),
        ),
    ],
    "vae/parts/likelihoods/preparing.py": [
        Mutation(
            "torch.randint(255, pixels.shape",
            "torch.randint(256, pixels.shape",
            "White pixels would be drawn black now and then.",
            (f"{LIKELIHOODS}::test_binarize_keeps_black_and_white",),
        ),
    ],
    "vae/parts/distributions.py": [
        Mutation(
            "return 0.5 * (ratio.expm1() - ratio + shift.square())",
            "return 0.5 * (ratio.expm1() + ratio + shift.square())",
            "The rate of a model with a learned prior would be wrong, and below 0 for narrow posteriors.",
            (f"{POSTERIORS}::test_gaussian_kl_matches_torch_distributions",),
        ),
        Mutation(
            "torch.logsumexp(log_density_SBK + self.log_weights, dim=-1)",
            "torch.logsumexp(log_density_SBK, dim=-1)",
            "A mixture prior would count each component fully, and the rate would be too small.",
            (f"{PRIORS}::test_mixture_density_matches_torch_distributions",),
        ),
        Mutation(
            ".squeeze(-1).clamp(max=ends.shape[-1] - 1)",
            ".squeeze(-1)",
            "A draw far out would ask for a component that does not exist, and generation would crash.",
            (f"{PRIORS}::test_choose_keeps_to_the_range_at_the_ends",),
        ),
        Mutation(
            "return chosen.sample(temperature * noise_BN[:, 1:])",
            "return chosen.sample(noise_BN[:, 1:])",
            "The temperature of a mixture prior would be ignored.",
            (f"{PRIORS}::test_temperature_leaves_the_choice_of_a_component_alone",),
        ),
    ],
    "vae/parts/posteriors.py": [
        Mutation(
            "lambda: (-0.5 * (noise_SBN.square() + LOG_2PI) - self.log_std).sum(-1))",
            "lambda: (-0.5 * (noise_SBN.square() + LOG_2PI)).sum(-1))",
            "log q(z|x) would ignore the posterior's width, and every importance weight would be wrong.",
            (f"{POSTERIORS}::test_gaussian_draws_and_density_match_torch_distributions",),
        ),
        Mutation(
            "torch.sqrt(self.degrees / (self.degrees - 2))",
            "torch.sqrt(self.degrees / (self.degrees - 1))",
            "The standard deviation of a Student-t code would be too small.",
            (f"{POSTERIORS}::test_student_t_std_is_scipys",),
        ),
        Mutation(
            "torch.expm1(square / self.degrees) / square",
            "torch.expm1(square / self.degrees)",
            "Draws of a Student-t posterior would have too heavy tails.",
            (f"{POSTERIORS}::test_student_t_draws_are_student_t",),
        ),
        Mutation(
            "- self.base.log_std.sum(-1) - log_det_SB)",
            "- self.base.log_std.sum(-1) + log_det_SB)",
            "A flow posterior would be trained towards the wrong bound.",
            (f"{POSTERIOR_LAWS}::test_density_is_the_noises_by_change_of_variables",),
        ),
        Mutation(
            "return Gaussian(mean, -0.5 * torch.log(precision))",
            "return Gaussian(mean, 0.5 * torch.log(precision))",
            "A ladder's posterior would be the wider the more it knows.",
            (f"{POSTERIORS}::test_merge_is_the_product_of_densities",),
        ),
        Mutation(
            "return torch.cat([q.std()[0] for q, _ in self.draw(noise, self.prior).groups], dim=-1)",
            "return torch.cat([p.std()[0] for _, p in self.draw(noise, self.prior).groups], dim=-1)",
            "The standard deviation of a ladder's code would be the prior's.",
            (f"{POSTERIOR_LAWS}::test_std_is_that_of_draws",),
        ),
        Mutation(
            "z_BL = self.encoded + (self.nearest - self.encoded).detach()",
            "z_BL = self.nearest",
            "The encoder of a vector-quantised model would learn nothing from the reconstruction.",
            (f"{QUANTIZATION}::test_decoder_sees_codes_and_encoder_gets_their_gradient",),
        ),
        Mutation(
            "(self.encoded - self.nearest.detach()).square()",
            "(self.encoded.detach() - self.nearest).square()",
            "The commitment would not pull the encoder to its codes, and its outputs would run away.",
            (f"{QUANTIZATION}::test_commitment_pulls_the_encoder_and_not_the_codes",),
        ),
        Mutation(
            "if self.training and torch.is_grad_enabled():",
            "if self.training:",
            "Looking at a codebook without a gradient, as sharing starting examples does, would move its codes.",
            (f"{QUANTIZATION}::test_codebook_moves_in_training_alone",),
        ),
    ],
    "vae/parts/priors.py": [
        Mutation(
            "self.group(number, z_BL).sample(temperature * noise)",
            "self.group(number, z_BL).sample(noise if number else temperature * noise)",
            "The temperature of a hierarchical prior would be ignored below its top group.",
            (f"{PRIOR_LAWS}::test_temperature_scales_the_noise[hierarchical]",),
        ),
        Mutation(
            "return self.transform.inv(temperature * noise_BN)",
            "return self.transform.inv(noise_BN)",
            "The temperature of a flow prior would be ignored.",
            (f"{PRIOR_LAWS}::test_temperature_scales_the_noise",),
        ),
        Mutation(
            "return self.gaussian.sample(temperature * noise_BN)",
            "return self.gaussian.sample(noise_BN)",
            "The temperature of a conditional prior would be ignored.",
            (f"{PRIOR_LAWS}::test_temperature_scales_the_noise",),
        ),
        Mutation(
            "return self.mixture.sample(noise_BN, temperature)",
            "return self.mixture.sample(noise_BN)",
            "The temperature of mixture and VampPrior models would be ignored.",
            (f"{PRIOR_LAWS}::test_temperature_scales_the_noise",),
        ),
        Mutation(
            "return standard_normal_log_prob(noise) + log_det",
            "return standard_normal_log_prob(noise) - log_det",
            "A flow prior would be no density, and every rate under it wrong.",
            (f"{PRIOR_LAWS}::test_density_integrates_to_one",),
        ),
        Mutation(
            "torch.addcmul(log_variance.expm1(), posterior.mean, posterior.mean) - log_variance",
            "torch.addcmul(log_variance.expm1(), posterior.mean, posterior.mean) + log_variance",
            "The standard VAE's rate would have the wrong sign for its width, and posteriors would collapse to points.",
            (f"{PRIORS}::test_standard_normal_kl_matches_torch_distributions",),
        ),
        Mutation(
            "self.conditions.copy_(condition_NK[:count])",
            "self.conditions.zero_()",
            "The pseudo-inputs of a conditional VampPrior would be told no class.",
            (f"{PRIORS}::test_vamp_of_the_data_is_the_aggregate_posterior",),
        ),
        Mutation(
            "return self.pseudo_inputs.clamp(0, 1) if self.pseudo_inputs.ndim == 4 else self.pseudo_inputs",
            "return self.pseudo_inputs",
            "Pseudo-images would leave the range of pixels, where the encoder knows nothing.",
            (f"{PRIORS}::test_vamp_pseudo_images_stay_in_the_range_of_pixels",),
        ),
        Mutation(
            "Mixture(self.logits.log_softmax(-1), Gaussian",
            "Mixture(self.logits, Gaussian",
            "A mixture prior with unequal weights would not integrate to 1.",
            (f"{PRIOR_LAWS}::test_density_integrates_to_one",),
        ),
        Mutation(
            "before_BG = torch.cat([self._begin(len(codes_BG), codes_BG), codes_BG[:, :-1]], dim=1)",
            "before_BG = codes_BG",
            "The prior of codes would see each code before it predicts it, and report a rate near 0.",
            (f"{PRIOR_LAWS}::test_probabilities_of_all_code_sequences_sum_to_one",),
        ),
        Mutation(
            "(self.head(out[:, 0]).float() / temperature)",
            "(self.head(out[:, 0]).float() * temperature)",
            "A low temperature would make codes more random instead of less.",
            (f"{PRIORS}::test_temperature_sharpens_codes",),
        ),
        Mutation(
            "return (uniform * self.num_codes).long().clamp(max=self.num_codes - 1)",
            "return (uniform * (self.num_codes - 1)).long()",
            "The last code of a codebook would never be generated.",
            (f"{PRIOR_LAWS}::test_sampled_codes_come_from_their_probabilities",),
        ),
    ],
    "vae/parts/flows.py": [
        Mutation(
            "transforms=transforms,",
            "transforms=1,",
            "The number of transforms in the configuration would be ignored.",
            ("tests/vae/parts/test_flows.py",),
        ),
        Mutation(
            "kind = zuko.flows.NSF if splines else zuko.flows.MAF",
            "kind = zuko.flows.MAF",
            "A configured spline flow would be an affine one.",
            ("tests/vae/parts/test_flows.py",),
        ),
    ],
    "vae/parts/quantization.py": [
        Mutation(
            "self.counts.lerp_(found[:, 0], 1 - self.decay)",
            "self.counts.lerp_(found[:, 0], self.decay)",
            "A codebook's counts would follow the last batch alone while its sums average over many.",
            (f"{QUANTIZATION}::test_codes_move_by_the_moving_averages",),
        ),
        Mutation(
            "self.codes).argmin(-1)",
            "self.codes).argmax(-1)",
            "Each piece would get the code that is farthest from it.",
            (f"{QUANTIZATION}::test_nearest_code_is_the_nearest",),
        ),
        Mutation(
            "/ (total + len(self.counts) * SMOOTHING) * total",
            "/ (total + len(self.counts) * SMOOTHING)",
            "Codes would be many times too long.",
            (f"{QUANTIZATION}::test_codes_move_by_the_moving_averages",),
        ),
        Mutation(
            "self.counts.fill_(1.0)\n        self.sums.copy_(self.codes)",
            "self.counts.fill_(1.0)",
            "The first step would move every code back to its random start.",
            (f"{QUANTIZATION}::test_start_spreads_the_codes_over_the_data",),
        ),
        Mutation(
            "distributed.all_reduce(found)",
            "pass",
            "Each rank would move a codebook of its own, and the shipped one would know a part of the data alone.",
            ("tests/laws/test_rank_laws.py::test_codebooks_are_equal_on_every_rank",),
        ),
    ],
    "vae/model.py": [
        Mutation(
            "return self.log_likelihood + self.prior.log_prob(self.draw) - self.draw.log_prob()",
            "return self.log_likelihood - self.prior.log_prob(self.draw) + self.draw.log_prob()",
            "Importance weights would favour the draws that the prior finds unlikely.",
            (f"{MODEL}::test_terms_match_torch_distributions",),
        ),
        Mutation(
            "seen = inputs.x if inputs.seen is None else inputs.seen",
            "seen = inputs.x",
            "A denoising model would be trained on clean images.",
            ("tests/laws/test_objective_laws.py::test_corruption_is_what_the_encoder_sees",),
        ),
        Mutation(
            "seen = seen.masked_fill(~inputs.observed, 0.0)",
            "seen = seen.masked_fill(inputs.observed, 0.0)",
            "The encoder would see what is hidden and not what is there.",
            (f"{MODEL_LAWS}::test_what_is_missing_is_not_seen",),
        ),
        Mutation(
            "parts.append(((values_B - column.mean) / column.std)[:, None])",
            "parts.append((values_B - column.mean)[:, None])",
            "A condition given in large units would drown everything else that the networks see.",
            (f"{MODEL}::test_condition_is_one_hot_and_standardised",),
        ),
        Mutation(
            "return self.posterior.codebook.embed(drawn)",
            "return self.posterior.codebook.embed(drawn * 0)",
            "Every example that a vector-quantised model generates would be the same.",
            (f"{QUANTIZATION}::test_latents_from_the_prior_are_its_codes",),
        ),
    ],
}
