//! Rules of this repository, and its examples.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod callbacks_of_the_layer_are_short;
mod every_test_is_compiled;
mod manifests_hold_together;
mod modules_import_only_lower_tiers;
mod no_circle_of_files;
mod no_row_stands_in_two_tables;
mod one_type_name_stands_for_one_thing;
mod pages_name_files_that_exist;
mod quickstart_serves_a_person;
mod recipes_are_the_code_that_runs;
mod rules_are_defined;
mod sources;
mod the_root_has_few_names;
mod words_that_were_replaced_stay_away;
