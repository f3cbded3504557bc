"""Mutations of what is minimised: bounds, regularisers, controllers, the step, and the seeds of its draws."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

OBJECTIVE_LAWS = "tests/laws/test_objective_laws.py"
RANK_LAWS = "tests/laws/test_rank_laws.py"
OBJECTIVES = "tests/vae/parts/test_bounds.py"
REGULARIZERS = "tests/vae/parts/test_regularizers.py"
CONTROLLERS = "tests/vae/parts/test_controllers.py"
ADVERSARY = "tests/vae/parts/test_adversary.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/parts/bounds.py": [
        Mutation(
            "gather(kl.mean(0)).mean(0).clamp(min=floor).sum()",
            "gather(kl.mean(0)).clamp(min=floor).mean(0).sum()",
            "Free bits would be granted to each example, and the rate would never be pulled below them.",
            (f"{OBJECTIVES}::test_free_bits_clamp_the_mean_of_the_batch",),
        ),
        Mutation(
            "(gather(terms.rate.mean(0)).mean() - capacity).abs()",
            "(gather(terms.rate.mean(0)).mean() - capacity)",
            "A capacity would pull the rate to 0 whatever it is.",
            (f"{OBJECTIVES}::test_capacity_turns_the_gradient_at_c",),
        ),
        Mutation(
            "torch.logsumexp(log_weight_SB, dim=0) - math.log(len(log_weight_SB))",
            "torch.logsumexp(log_weight_SB, dim=0)",
            "The importance-weighted bound would grow by log k with k draws.",
            (f"{OBJECTIVES}::test_iwae_is_logmeanexp_of_the_weights",),
        ),
        Mutation(
            "terms.log_likelihood + beta * (terms.prior.log_prob",
            "terms.log_likelihood + (terms.prior.log_prob",
            "β would be ignored by importance-weighted objectives.",
            (f"{OBJECTIVES}::test_iwae_weighs_the_prior_by_beta",),
        ),
        Mutation(
            "loss = mix * elbo - (1 - mix) * importance_weighted",
            "loss = (1 - mix) * elbo - mix * importance_weighted",
            "The mix of a CIWAE would count the wrong way round.",
            (f"{OBJECTIVES}::test_ciwae_lies_between",),
        ),
        Mutation(
            "loss = loss + terms.draw.penalty.mean()",
            "loss = loss + terms.draw.penalty.sum()",
            "The commitment of a vector-quantised model would grow with the batch.",
            ("tests/vae/parts/test_quantization.py::test_commitment_is_in_the_loss",),
        ),
        Mutation(
            "return (beta * terms.rate).mean()",
            "return beta.mean() * rate",
            "A model for every β would be trained at the mean β alone.",
            (f"{OBJECTIVES}::test_beta_of_each_example_weighs_its_own_rate",),
        ),
    ],
    "vae/parts/regularizers.py": [
        Mutation(
            "torch.logsumexp(log_q_LBB + log_weights_BB, dim=2).sum(0)",
            "torch.logsumexp(log_q_LBB + log_weights_BB, dim=1).sum(0)",
            "The total correlation of a β-TCVAE would average over draws in place of posteriors.",
            (f"{REGULARIZERS}::test_total_correlation_of_the_whole_data_is_exact",),
        ),
        Mutation(
            "others = (1 - 1 / num_examples) / (batch - 1)",
            "others = (1 - 1 / num_examples) / batch",
            "The weights of a minibatch would not sum to 1, and the total correlation would be biased.",
            (f"{REGULARIZERS}::test_stratified_weights_are_a_mean_over_the_data",),
        ),
        Mutation(
            'if config.variant == "ii":',
            'if config.variant == "i":',
            "DIP-VAE I and II would be each other.",
            (f"{REGULARIZERS}::test_dip_looks_at_variances_in_its_second_variant_alone",),
        ),
        Mutation(
            "covariance.square().sum() - diagonal.square().sum()",
            "covariance.square().sum()",
            "DIP-VAE would punish the variances that it is to keep at 1.",
            (f"{REGULARIZERS}::test_dip_of_a_toy_is_by_hand",),
        ),
        Mutation(
            "/ (count * (count - 1)) - 2 * between.mean()",
            "/ (count * (count - 1)) - between.mean()",
            "The discrepancy between equal distributions would not be 0.",
            (f"{REGULARIZERS}::test_mmd_is_the_unbiased_estimate",),
        ),
        Mutation(
            "z_BL = gather(terms.z[0])",
            "z_BL = gather(terms.z[-1])",
            "The draws that a regulariser sees would not be those that are reported.",
            (f"{REGULARIZERS}::test_penalty_is_weighted_and_of_the_first_draw",),
        ),
        Mutation(
            "maximum_mean_discrepancy(z_BL, gather(reference_BL), kernel)",
            "maximum_mean_discrepancy(gather(terms.z[0]), reference_BL.repeat(len(z_BL) // len(reference_BL), 1), kernel)",
            "With several ranks each would compare all draws with its own draws of the prior.",
            (f"{RANK_LAWS}::test_two_ranks_of_half_a_batch_are_one_of_the_whole",),
        ),
    ],
    "vae/parts/adversary.py": [
        Mutation(
            "frozen = {name: parameter.detach() for",
            "frozen = {name: parameter for",
            "FactorVAE's discriminator would be trained to be fooled.",
            (f"{ADVERSARY}::test_penalty_teaches_the_encoder_alone",),
        ),
        Mutation(
            "return z_BL.gather(0, keys.argsort(dim=0))",
            "return z_BL[keys[:, 0].argsort()]",
            "Shuffling whole latents would leave their dependence, and the discriminator would find no total correlation.",
            (f"{ADVERSARY}::test_permuted_dimensions_keep_the_marginals_and_lose_the_dependence",),
        ),
    ],
    "vae/training/step.py": [
        Mutation(
            "self.model.sample_prior(draws.reference, inputs.condition).detach()",
            "self.model.sample_prior(draws.reference, inputs.condition)",
            "A learned prior would be moved by the discrepancy towards the posterior's draws, and not by the bound alone.",
            (f"{OBJECTIVE_LAWS}::test_discrepancy_teaches_the_posterior_and_not_the_prior",),
        ),
        Mutation(
            "inputs = inputs._replace(seen=corrupt(inputs.x, objective.corruption, generator))",
            "inputs = inputs._replace(x=corrupt(inputs.x, objective.corruption, generator))",
            "A denoising model would learn to reproduce the noise.",
            (f"{OBJECTIVE_LAWS}::test_corruption_is_what_the_encoder_sees",),
        ),
        Mutation(
            "share = torch.rand(count, 1, generator=generator, device=device)",
            "share = torch.rand(1, 1, generator=generator, device=device).expand(count, 1)",
            "All examples of a batch would be trained at one β.",
            (f"{OBJECTIVE_LAWS}::test_multi_rate_draws_beta_uniformly_in_the_logarithm",),
        ),
        Mutation(
            "beta = beta * inputs.log_beta.squeeze(-1).exp()",
            "beta = inputs.log_beta.squeeze(-1).exp()",
            "objective.beta would be ignored by a model for every β.",
            (f"{OBJECTIVE_LAWS}::test_step_is_the_bound_and_its_regularizers",),
        ),
    ],
    "vae/parts/controllers.py": [
        Mutation(
            "self.state[1].sub_(speed * self.state[0])",
            "self.state[1].add_(speed * self.state[0])",
            "GECO would raise β where the distortion is too large already.",
            (f"{CONTROLLERS}::test_geco_moves_beta_towards_its_target",),
        ),
        Mutation(
            "inside = (proposed >= config.lowest) & (proposed <= config.highest)",
            "inside = proposed == proposed",
            "ControlVAE's integral would wind up at a bound, and β would stay there long after the rate has turned.",
            (f"{CONTROLLERS}::test_control_leaves_its_bounds_as_soon_as_the_error_turns",),
        ),
        Mutation(
            "return steps_of(steps, total_steps) * cycles",
            "return steps_of(steps, total_steps)",
            "A cyclical β would count as settled after its first cycle, and the best epoch be one with a β near 0.",
            (f"{CONTROLLERS}::test_schedule_longer_than_the_run_is_refused",),
        ),
        Mutation(
            "return max(0.0, distortion - target + DISTORTION_MARGIN * max(1.0, abs(target)))",
            "return abs(distortion - target)",
            "GECO would ship an epoch just above its distortion before one that is far better.",
            ("tests/vae/training/test_record.py::test_reached_distortion_is_a_constraint_from_above",),
        ),
        Mutation(
            "return self.beta, torch.full_like(self.capacity, capacity)",
            "return self.beta, self.capacity",
            "Early epochs would be validated at the low capacity that they are trained at, and seem the best.",
            (f"{CONTROLLERS}::test_settled_is_what_the_schedule_leads_to",),
        ),
        Mutation(
            "return torch.full_like(self.beta, self.config.beta), self.capacity",
            "return self.beta, self.capacity",
            "Epochs of a warm-up would be validated at the small β that they are trained at, and seem the best.",
            (f"{CONTROLLERS}::test_settled_is_what_the_schedule_leads_to",),
        ),
        Mutation(
            "return config.beta * min(1.0, step / steps_of(length, total_steps))",
            "return config.beta * step / steps_of(length, total_steps)",
            "β would go on rising after its warm-up.",
            (f"{CONTROLLERS}::test_warmup_rises_linearly_and_stays",),
        ),
    ],
    "vae/seeds.py": [
        Mutation(
            "for key in (stream, *keys):",
            "for key in keys:",
            "Draws for different purposes would share their seed, such as a step's noise and the order of its epoch.",
            ("tests/vae/test_seeds.py",),
        ),
        Mutation(
            "state = seed\n",
            "state = 0\n",
            "The run's seed would be ignored.",
            ("tests/vae/test_seeds.py",),
        ),
    ],
    "vae/parts/ranks.py": [
        Mutation(
            "gradient = gradient.contiguous()\n        distributed.all_reduce(gradient)",
            "gradient = gradient.contiguous()",
            "On several ranks a regulariser's gradient would be a part of what it is on one.",
            (f"{RANK_LAWS}::test_two_ranks_of_half_a_batch_are_one_of_the_whole",),
        ),
    ],
}
