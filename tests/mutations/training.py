"""Mutations of training: optimisers, averages, checkpoints, stacks, and what is fitted to the latents afterwards."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

LANE_LAWS = "tests/laws/test_lane_laws.py"
OPTIMIZER = "tests/vae/training/test_optimizer.py"
STATE = "tests/vae/training/test_state.py"
TRAINING = "tests/vae/training/test_loop.py"
LANES = "tests/vae/training/test_lanes.py"
RECORD = "tests/vae/training/test_record.py"
VALIDATION = "tests/vae/training/test_validation.py"
AGGREGATE = "tests/vae/parts/test_aggregate.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/training/optimizer.py": [
        Mutation(
            "return rate * (step + 1) / warmup",
            "return rate * step / warmup",
            "The first step would have a learning rate of 0, and the last of the warm-up less than the full one.",
            (f"{OPTIMIZER}::test_learning_rate_rises_in_a_line_and_falls_by_half_a_wave",),
        ),
        Mutation(
            "math.cos(math.pi * (step - warmup) / (total_steps - warmup))",
            "math.cos(math.pi * step / total_steps)",
            "The learning rate would fall abruptly where the warm-up ends.",
            (f"{OPTIMIZER}::test_learning_rate_rises_in_a_line_and_falls_by_half_a_wave",),
        ),
        Mutation(
            "return min(decay, (1 + step) / (10 + step))",
            "return max(decay, (1 + step) / (10 + step))",
            "The average of weights would keep its random start, and short runs would ship it.",
            (f"{TRAINING}::test_moving_average_is_what_is_shipped",),
        ),
        Mutation(
            "weight_decay=self.weight_decay,",
            "weight_decay=0.0,",
            "A search would train without the weight decay that its winner is then trained with.",
            (f"{LANES}::test_lane_is_the_run_that_its_configuration_says[averaged, clipped, decayed, conditional]",),
        ),
        Mutation(
            "self.means = {name: value[list(lanes)] for name, value in self.means.items()}",
            "self.means = {name: value[: len(lanes)] for name, value in self.means.items()}",
            "When a lane leaves its stack, those after it would go on with the momentum of another.",
            (f"{LANES}::test_lanes_stop_one_by_one[None]",),
        ),
        Mutation(
            "self._advance([list(tensors) for tensors in lane], rate)",
            "self._advance([list(tensors) for tensors in lane], learning_rates[0])",
            "All lanes of a stack would be trained at the learning rate of the first.",
            (f"{LANES}::test_lane_is_the_run_that_its_configuration_says[plain]",),
        ),
    ],
    "vae/training/state.py": [
        Mutation(
            'if found != facts["sha256"]:',
            'if len(content) != facts["bytes"]:',
            "A checkpoint with a flipped bit would be resumed from.",
            (f"{STATE}::test_damaged_checkpoint_falls_back_to_the_one_before",),
        ),
        Mutation(
            "committed[: max(0, position - self.keep)]",
            "committed[: max(0, position - self.keep + 1)]",
            "One checkpoint fewer would be kept than was asked for, and with keep 1 none.",
            (f"{STATE}::test_store_keeps_the_newest",),
        ),
        Mutation(
            ", *committed[position:]]:",
            "]:",
            "After a fallback a damaged later checkpoint would crowd out the new ones.",
            (f"{STATE}::test_new_checkpoints_after_a_fallback_outlive_the_damaged_ones",),
        ),
        Mutation(
            'if manifest["identity"] != self.identity:',
            'if manifest["identity"].keys() != self.identity.keys():',
            "A run would be resumed with the weights of another configuration.",
            (f"{STATE}::test_another_run_is_refused_with_the_differences",),
        ),
        Mutation(
            'if "/" in name or name in ("", ".", "..")]',
            'if name in ("", ".", "..")]',
            "A checkpoint from elsewhere could have files read outside of its folder.",
            (f"{STATE}::test_checkpoint_names_no_file_outside_its_folder",),
        ),
        Mutation(
            'if hashlib.sha256(content).hexdigest() != facts.get("weights_sha256"):',
            'if not facts.get("weights_sha256"):',
            "A saved model with a flipped bit would be served.",
            (f"{STATE}::test_flipped_bit_of_saved_weights_is_noticed",),
        ),
        Mutation(
            'model.experience = Experience(**facts["experience"])',
            "model.experience = Experience()",
            "A model that was trained on gaps would refuse to impute once it is saved.",
            (f"{STATE}::test_saved_model_keeps_what_it_learned_beside_its_weights",),
        ),
        Mutation(
            "except _DamagedError as error:\n                log.warning",
            "except ZeroDivisionError as error:\n                log.warning",
            "One damaged checkpoint would end a run that has intact ones.",
            (f"{STATE}::test_damaged_checkpoint_falls_back_to_the_one_before",),
        ),
    ],
    "vae/training/loop.py": [
        Mutation(
            "weight_decay=training.weight_decay, fused=True",
            "weight_decay=0.0, fused=True",
            "training.weight_decay would be ignored.",
            (f"{LANES}::test_lane_is_the_run_that_its_configuration_says[averaged, clipped, decayed, conditional]",),
        ),
        Mutation(
            'restore_optimizer(self.optimizer, checkpoint.tensors["optimizer"])',
            "pass",
            "A resumed run would start with fresh moments.",
            (f"{TRAINING}::test_resume_repeats_the_unbroken_run_however_often",),
        ),
        Mutation(
            "average.copy_(current)",
            "pass",
            "A model with averaged weights would be shipped with the codebook that it started with.",
            (f"{TRAINING}::test_moving_average_takes_buffers_as_they_are",),
        ),
        Mutation(
            'self.averaged.load_state_dict(checkpoint.tensors["averaged"])',
            "pass",
            "A resumed run would average its weights with those of a fresh model.",
            (f"{TRAINING}::test_resume_repeats_the_unbroken_run_however_often",),
        ),
        Mutation(
            "average.lerp_(current, 1 - decay)",
            "average.lerp_(current, decay)",
            "The average of weights would be little more than the last step's.",
            (f"{TRAINING}::test_moving_average_is_what_is_shipped",),
        ),
        Mutation(
            "self.best_weights = {name: value.detach().clone() for name",
            "self.best_weights = {name: value.detach() for name",
            "The last epoch's weights would be shipped in place of the best one's.",
            (f"{TRAINING}::test_early_stopping_returns_the_best_epoch",),
        ),
        Mutation(
            "self.sums.zero_()",
            "pass",
            "The training losses of an epoch would contain those of all epochs before.",
            (f"{TRAINING}::test_training_losses_are_those_of_their_epoch",),
        ),
        Mutation(
            "derive(training.seed, Stream.STEP, self.world.rank, self.steps_done)",
            "derive(training.seed, Stream.STEP, self.world.rank, 0)",
            "Every step would draw the same noise.",
            (f"{TRAINING}::test_noise_is_new_at_every_step",),
        ),
    ],
    "vae/training/lanes.py": [
        Mutation(
            "self.averaged.buffers = {name: value.clone() for name, value in self.stack.buffers.items()}",
            "pass",
            "A lane with averaged weights would be shipped with the buffers that it started with.",
            (f"{LANES}::test_moving_averages_take_buffers_as_they_are",),
        ),
        Mutation(
            "scale_K = (most / (square_K.sqrt() + 1e-6)).clamp(max=1)",
            "scale_K = most / (square_K.sqrt() + 1e-6)",
            "Small gradients would be blown up to the norm that large ones are cut to.",
            (f"{LANES}::test_gradients_below_the_clipping_norm_are_left_alone",),
        ),
        Mutation(
            "self.averaged.keep(places)",
            "self.averaged.keep(range(len(places)))",
            "When a lane leaves its stack, the others would be averaged with its weights.",
            (f"{LANES}::test_lanes_stop_one_by_one[0.5]",),
        ),
        Mutation(
            "rates = [learning_rate_at(self.configs[lane].training",
            "rates = [learning_rate_at(self.base.training",
            "All lanes of a stack would be trained at the learning rate of the first.",
            (f"{LANES}::test_lane_is_the_run_that_its_configuration_says[plain]",),
        ),
    ],
    "vae/training/latents.py": [
        Mutation(
            "z_NL = posterior.draw(noise, model.prior_of(inputs.condition)).z[0]",
            "z_NL = posterior.mean",
            "Examples generated from the aggregate posterior would lack the spread of its posteriors.",
            ("tests/vae/training/test_latents.py::test_mixture_is_fitted_to_draws_and_not_to_means",),
        ),
    ],
    "vae/training/record.py": [
        Mutation(
            "return report.step < self.settles_at, report.constraint_gap, value",
            "return False, report.constraint_gap, value",
            "An epoch from before β has settled would be shipped.",
            (f"{RECORD}::test_epochs_before_beta_has_settled_do_not_ship",),
        ),
        Mutation(
            "case _:\n                value = report.validation_objective",
            "case _:\n                value = report.validation_negative_bound",
            "A run with a small β would ship one of its first epochs.",
            (f"{RECORD}::test_objective_chooses_and_not_the_bound",),
        ),
        Mutation(
            "Capacity():\n                value = report.validation_negative_bound",
            "Capacity():\n                value = report.validation_objective",
            "Of the epochs that hold a rate, one with a worse bound would be shipped.",
            (f"{RECORD}::test_held_rate_chooses_the_best_bound_that_holds_it",),
        ),
        Mutation(
            "return sum(self._counts(epoch) for epoch in since) >= patience",
            "return sum(self._counts(epoch) for epoch in since) > patience",
            "A run would go on for an epoch more than its patience.",
            (f"{RECORD}::test_patience_counts_from_the_end_of_the_schedule",),
        ),
        Mutation(
            "ready_at = max(self.settles_at, self.config.training.warmup_steps)",
            "ready_at = self.settles_at",
            "A run could be stopped while its learning rate still rises.",
            (f"{RECORD}::test_patience_waits_for_the_learning_rate",),
        ),
        Mutation(
            "return report.step >= ready_at and is_held",
            "return report.step >= ready_at",
            "A run could be stopped before it has ever held its constraint.",
            (f"{RECORD}::test_patience_waits_for_the_constraint",),
        ),
    ],
    "vae/training/validation.py": [
        Mutation(
            "torch.stack([sums.new_full((), count), count * value.double()])",
            "torch.stack([sums.new_full((), count), value.double()])",
            "The objective that epochs are chosen by would be too small, by the size of a batch.",
            (f"{VALIDATION}::test_objective_is_the_loss_as_it_is_trained",),
        ),
        Mutation(
            "if objective.corruption is not None or isinstance",
            "if isinstance",
            "A denoising run would be chosen by its loss on clean examples.",
            (f"{VALIDATION}::test_objective_is_the_loss_as_it_is_trained",),
        ),
        Mutation(
            "value = value - beta * losses.rate",
            "value = value",
            "A vector-quantised run would ship one of its first epochs, which uses few codes.",
            (f"{VALIDATION}::test_objective_of_codes_leaves_out_their_rate",),
        ),
        Mutation(
            "derive(seed, Stream.VALIDATION, rank, number)",
            "derive(seed, Stream.VALIDATION, rank, 0)",
            "All validation batches would share their noise, and the bound would be less certain than it seems.",
            (f"{VALIDATION}::test_every_batch_has_noise_of_its_own",),
        ),
    ],
    "vae/training/guard.py": [
        Mutation(
            "finite = torch.stack(sums).sum().isfinite()",
            "finite = torch.stack(sums)[-1].isfinite()",
            "A gradient that is not finite would ruin the weights before anything is said.",
            ("tests/vae/training/test_guard.py::test_gradient_that_is_not_finite_stops_the_step",),
        ),
    ],
    "vae/training/stack.py": [
        Mutation(
            "draws = Draws(inputs._replace(log_beta=drawn.log_beta), drawn.noise, drawn.reference)",
            "draws = Draws(inputs._replace(log_beta=drawn.log_beta), drawn.noise, drawn.noise[0])",
            "Lanes with a discrepancy would compare the posterior with its own noise.",
            (f"{LANE_LAWS}::test_every_objective_is_the_same_in_a_stack[regularizer mmd imq]",),
        ),
        Mutation(
            "stacked[name].detach()[number].clone()",
            "stacked[name].detach()[0].clone()",
            "Every lane of a stack would ship the first lane's weights.",
            (f"{LANES}::test_lane_leaves_the_stack_as_an_ordinary_model",),
        ),
        Mutation(
            "name: value.detach()[list(numbers)].requires_grad_(value.requires_grad)",
            "name: value.detach()[: len(numbers)].requires_grad_(value.requires_grad)",
            "When a lane leaves its stack, the lanes that stay would take over its weights.",
            (f"{LANES}::test_lane_leaves_the_stack_as_an_ordinary_model",),
        ),
    ],
    "vae/training/lane_kernels.py": [
        Mutation(
            "return to_x, torch.bmm(gradient_KBO.mT, x_KBI), gradient_KBO.sum(1)",
            "return to_x, torch.bmm(gradient_KBO.mT, x_KBI), gradient_KBO.mean(1)",
            "The biases of a stack would learn more slowly than those of a model trained alone.",
            (f"{LANE_LAWS}::test_every_model_is_the_same_in_a_stack[mlp, nothing]",),
        ),
        Mutation(
            "return to_x, (gradient_BM.T @ x_BI).view_as(weight_KOI), gradient_KBO.sum(1)",
            "return to_x, (gradient_BM.T @ x_BI).view_as(weight_KOI), gradient_KBO.mean(1)",
            "The first layer's biases of a stack would learn more slowly than those of a model trained alone.",
            (f"{LANE_LAWS}::test_every_model_is_the_same_in_a_stack[mlp, nothing]",),
        ),
    ],
    "vae/parts/aggregate.py": [
        Mutation(
            "temperature * noise_BN[:, 1:])",
            "noise_BN[:, 1:])",
            "The temperature would be ignored where latents come from the aggregate posterior.",
            (AGGREGATE,),
        ),
        Mutation(
            "mixture.factors.copy_(torch.linalg.cholesky(torch.as_tensor(found.covariances_)))",
            "mixture.factors.copy_(torch.as_tensor(found.covariances_))",
            "Latents from the aggregate posterior would be spread by variances in place of standard deviations.",
            (AGGREGATE,),
        ),
        Mutation(
            "mixture.log_weights.copy_(torch.as_tensor(found.weights_).log())",
            "mixture.log_weights.copy_(torch.as_tensor(found.weights_))",
            "Nearly all latents from the aggregate posterior would come from its first component.",
            (AGGREGATE,),
        ),
        Mutation(
            'torch.einsum("bij,bj->bi", self.factors[index_B]',
            'torch.einsum("bji,bj->bi", self.factors[index_B]',
            "Latents from the aggregate posterior would be correlated the wrong way.",
            (AGGREGATE,),
        ),
        Mutation(
            "components = max(1, min(components, len(z_NL) // 10))",
            "components = max(1, components)",
            "A mixture of more components than there are rows would be asked for, and training would fail at its end.",
            (AGGREGATE,),
        ),
    ],
}
