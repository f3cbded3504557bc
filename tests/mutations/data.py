"""Mutations of the data: batches and their order, corruption, moments, rows, manifests, Parquet."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

BATCHES = "tests/vae/data/test_batches.py"
CORRUPTION = "tests/vae/parts/test_corruptions.py"
STATISTICS = "tests/vae/data/test_statistics.py"
ROWS = "tests/vae/data/test_rows.py"
MANIFEST = "tests/vae/data/test_manifest.py"
PARQUET = "tests/vae/data/test_parquet.py"

MUTATIONS: dict[str, list[Mutation]] = {
    "vae/data/batches.py": [
        Mutation(
            "derive(seed, Stream.PERMUTATION, *keys)",
            "derive(seed, Stream.PERMUTATION)",
            "Every epoch would show the examples in the same order.",
            (f"{BATCHES}::test_permutation_depends_on_every_key",),
        ),
        Mutation(
            "for step in range(first_step, self.steps_per_epoch):",
            "for step in range(0, self.steps_per_epoch - first_step):",
            "A run resumed in mid-epoch would see the epoch's first batches again.",
            (f"{BATCHES}::test_restart_gives_the_same_tail",),
        ),
        Mutation(
            "start, stop = rows * rank // world_size, rows * (rank + 1) // world_size",
            "start, stop = rows // world_size * rank, rows // world_size * (rank + 1)",
            "Rows that do not divide by the ranks would never be validated on.",
            (f"{BATCHES}::test_shares_of_all_ranks_partition_the_split",),
        ),
        Mutation(
            "white = threshold[:, :row_bytes] < grey",
            "white = threshold[:, :row_bytes] <= grey",
            "Black pixels of statically binarised images would be white now and then.",
            (f"{BATCHES}::test_static_binarization_draws_each_pixel_by_its_grey_value",),
        ),
        Mutation(
            "bits.advance(first_row * words_per_row)",
            "bits.advance(first_row)",
            "The binary image of a row would depend on which rows are read with it.",
            (f"{BATCHES}::test_static_binarization_does_not_depend_on_the_cut",),
        ),
        Mutation(
            "derive(0, Stream.STATIC_BINARIZATION, SPLITS.index(split))",
            "derive(0, Stream.STATIC_BINARIZATION, 0)",
            "The pixels of training and test images would be thresholded by the same random numbers.",
            (f"{BATCHES}::test_static_binarization_does_not_depend_on_the_cut",),
        ),
        Mutation(
            "% np.uint64(255)).astype(np.uint8)",
            "% np.uint64(256)).astype(np.uint8)",
            "White pixels of statically binarised images would be black now and then.",
            (f"{BATCHES}::test_thresholds_are_uniform_below_255",),
        ),
        Mutation(
            "yield start + skip, stop",
            "yield start, stop",
            "A streamed run that is resumed in mid-epoch would see rows again that it has seen.",
            (f"{BATCHES}::test_restart_gives_the_same_tail",),
        ),
        Mutation(
            "order = permutation(len(window), self.seed, self.share.rank, epoch, number + 1)",
            "order = torch.arange(len(window))",
            "Streamed rows would come in the order in which they are stored.",
            (f"{BATCHES}::test_streaming_mixes_rows_of_a_window",),
        ),
        Mutation(
            "if stop > share.start and start < share.stop",
            "if start >= share.start and stop <= share.stop",
            "A streaming rank would leave out the row groups that two ranks share.",
            (f"{BATCHES}::test_epoch_covers_its_share_at_most_once",),
        ),
        Mutation(
            "None if labels is None else labels.index_select(0, index_B),",
            "None if labels is None else labels[: len(index_B)],",
            "Labels would be those of other examples.",
            (f"{BATCHES}::test_epoch_covers_its_share_at_most_once",),
        ),
    ],
    "vae/parts/corruptions.py": [
        Mutation(
            "return x_BCHW + config.sigma * noise",
            "return x_BCHW + noise",
            "The sigma of Gaussian corruption would be ignored.",
            (f"{CORRUPTION}::test_gaussian_noise_has_its_sigma",),
        ),
        Mutation(
            "extreme = (draw < config.share / 2).to(x_BCHW.dtype)",
            "extreme = (draw < config.share).to(x_BCHW.dtype)",
            "Salt and pepper would be salt alone.",
            (f"{CORRUPTION}::test_salt_and_pepper_share_is_half_black_half_white",),
        ),
        Mutation(
            "torch.randint(size - pixels + 1, (len(x_BCHW), 1)",
            "torch.randint(size - pixels, (len(x_BCHW), 1)",
            "A block mask would never touch the right and the lower border.",
            (f"{CORRUPTION}::test_block_mask_is_one_square_anywhere",),
        ),
        Mutation(
            "torch.softmax(-(offset**2) / (2 * sigma**2), 0)",
            "torch.softmax(-(offset**2) / sigma**2, 0)",
            "A blur would be narrower than its sigma says.",
            (f"{CORRUPTION}::test_blur_is_scipys",),
        ),
        Mutation(
            "bits.advance(first_row * words_per_row)",
            "bits.advance(first_row)",
            "Which entries of a row are hidden would depend on which rows are read with it.",
            (f"{CORRUPTION}::test_hide_depends_on_split_and_row_alone",),
        ),
        Mutation(
            "derive(0, Stream.MISSING, SPLITS.index(split))",
            "derive(0, Stream.MISSING, 0)",
            "The same entries would be hidden in training and test rows.",
            (f"{CORRUPTION}::test_hide_depends_on_split_and_row_alone",),
        ),
        Mutation(
            "np.where(can_miss_D, low, -np.inf)",
            "low",
            "Missing at random would hide the very columns that decide what is missing.",
            (f"{CORRUPTION}::test_hide_mar_is_decided_by_what_is_there",),
        ),
        Mutation(
            "observed_ND & ~np.isnan(values_ND)",
            "observed_ND",
            "What the data lacks already would count as observed.",
            (f"{CORRUPTION}::test_hide_comes_on_top_of_what_is_missing",),
        ),
        Mutation(
            "low, high = np.where(above, low, middle), np.where(above, middle, high)",
            "low, high = np.where(above, middle, low), np.where(above, high, middle)",
            "The share of hidden entries would not be what was asked for.",
            (f"{CORRUPTION}::test_hide_share_of_a_table_is_right_on_average",),
        ),
    ],
    "vae/data/moments.py": [
        Mutation(
            "self._squares += gap_D**2 * self.count * count_D / total_D",
            "self._squares += 0",
            "The standard deviation of a column would be that within blocks, too small where the blocks differ.",
            (f"{STATISTICS}::test_moments_do_not_depend_on_the_blocks",),
        ),
        Mutation(
            "there_ND = ~np.isnan(values_ND)",
            "there_ND = np.ones(values_ND.shape, bool)",
            "One missing value would make a column's mean and scale NaN.",
            (f"{STATISTICS}::test_moments_do_not_depend_on_the_blocks",),
        ),
    ],
    "vae/data/statistics.py": [
        Mutation(
            "start += len(block.values)",
            "start += 0",
            "Columns would be scaled by entries that the model is not to see.",
            (f"{STATISTICS}::test_example_spec_sees_what_the_model_sees",),
        ),
    ],
    "vae/data/rows.py": [
        Mutation(
            "for value in found.dictionary.to_pylist()), np.nan])",
            "for value in found.dictionary.to_pylist()), 0.0])",
            "A missing category would be read as the first one.",
            (f"{ROWS}::test_encode_gives_numbers_codes_and_nan",),
        ),
        Mutation(
            "table.column(ATTRIBUTE + column.name).to_numpy()[part] for column in attributes]",
            "table.column(ATTRIBUTE + column.name).to_numpy()[: part.stop - part.start] for column in attributes]",
            "Attributes would be those of other rows.",
            (f"{ROWS}::test_attributes_come_beside_images",),
        ),
    ],
    "vae/data/manifest.py": [
        Mutation(
            '"sources": sorted(sources)',
            '"sources": list(sources)',
            "The same files listed in another order would become another dataset.",
            (f"{MANIFEST}::test_dataset_id_follows_content_not_order",),
        ),
        Mutation(
            'r"[A-Za-z0-9][A-Za-z0-9._-]*"',
            'r"[A-Za-z0-9./_-]*"',
            "A manifest from elsewhere could name files outside of its folder.",
            (f"{MANIFEST}::test_shard_path_stays_in_its_folder",),
        ),
        Mutation(
            "if sum(self.row_groups) != self.rows:",
            "if sum(self.row_groups) > self.rows:",
            "A manifest that promises rows which no row group holds would be accepted.",
            (f"{MANIFEST}::test_shard_rows_are_its_groups",),
        ),
        Mutation(
            "if len(set(names)) != len(names):",
            "if len(set(names)) > len(names):",
            "A model could be tested on the shard that it was trained on, which the manifest names in two splits.",
            (f"{MANIFEST}::test_manifest_names_each_shard_once",),
        ),
        Mutation(
            'schema["attributes"] = [column.model_dump(mode="json") for column in attributes]',
            'schema["attributes"] = len(attributes)',
            "Datasets with other attributes would pass for those that a model fits.",
            (f"{ROWS}::test_fingerprint_counts_attributes_only_where_there_are_any", MANIFEST),
        ),
    ],
    "vae/data/parquet.py": [
        Mutation(
            "return None if found == shard.sha256 else",
            "return None if len(found) == len(shard.sha256) else",
            "A shard with flipped bytes would pass its verification.",
            (f"{PARQUET}::test_verify_passes_and_names_each_bad_shard",),
        ),
        Mutation(
            "page_checksum_verification=data is None,",
            "page_checksum_verification=False,",
            "A flipped byte would be trained on without a word.",
            (f"{PARQUET}::test_blocks_refuse_what_is_damaged_or_not_there",),
        ),
        Mutation(
            "write_page_checksum=True,",
            "write_page_checksum=False,",
            "Shards would be written without what tells a flipped byte.",
            (f"{PARQUET}::test_shards_have_page_checksums_and_lz4",),
        ),
        Mutation(
            "if found != shard.row_groups:",
            "if sum(found) != sum(shard.row_groups):",
            "Rows would be read from other places than the manifest says.",
            (f"{PARQUET}::test_other_row_groups_are_refused",),
        ),
        Mutation(
            "if size > allowed:",
            "if size > 1000 * allowed:",
            "A small file could unfold to more memory than the machine has.",
            (f"{PARQUET}::test_decompression_bomb_is_refused_by_its_footer",),
        ),
        Mutation(
            "_Piece(shard, group, lower - first, upper - lower, lower - start)",
            "_Piece(shard, group, 0, upper - lower, lower - start)",
            "A range of rows would begin with the first rows of its row group.",
            (f"{PARQUET}::test_read_rows_gives_that_range",),
        ),
        Mutation(
            "skip -= part.start",
            "skip -= 0",
            "A streamed range would leave out rows.",
            (f"{PARQUET}::test_blocks_give_the_range_in_order",),
        ),
        Mutation(
            "if version != FORMAT_VERSION:",
            "if version is None:",
            "A dataset of a later format would be misread.",
            (f"{PARQUET}::test_open_explains_what_is_missing_or_damaged",),
        ),
    ],
}
