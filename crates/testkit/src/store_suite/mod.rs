//! What every [`Store`](signet_core::Store) must do: each sentence of its documentation, and of `Write`, `Query`,
//! `Page` and `StoreError`, has a case. Cases make tenants of their own, so they may share a persistent store and run
//! at once.
//!
//! ```ignore
//! async fn store() -> (std::sync::Arc<dyn signet_core::Store>, tempfile::TempDir) { … }
//! signet_testkit::store_suite!(store);
//! ```

mod concurrency;
mod conditions;
mod expiry;
mod golden;
mod indexes;
mod isolation;
mod limits;
mod paging;
mod raw;
mod roundtrip;
mod support;

use std::sync::Arc;

use signet_core::Store;

pub use self::{
    concurrency::*, conditions::*, expiry::*, golden::*, indexes::*, isolation::*, limits::*, paging::*, raw::*,
    roundtrip::*,
};

/// Makes one test per case. See [the module](mod@crate::store_suite).
#[macro_export]
macro_rules! store_suite {
    ($factory:path) => {
        $crate::store_cases!(suite_tests [store_suite $factory]);
    };
}

/// The list of cases, handed to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($then:ident $arguments:tt) => {
        $crate::$then! { $arguments
            create_is_refused_where_a_record_exists
            replace_needs_the_version_that_was_read
            delete_needs_the_version_that_was_read
            check_needs_the_version_and_writes_nothing
            versions_count_the_writes
            a_conflict_names_the_first_failing_write_and_nothing_is_applied
            a_transaction_applies_all_its_writes_in_all_tables
            reads_of_a_table_see_what_was_answered
            repeating_a_transaction_is_a_conflict_and_changes_nothing

            expired_records_are_absent_from_reads
            expired_records_fail_every_condition
            create_over_an_expired_record_starts_anew
            replacing_moves_or_lifts_the_expiry
            expired_records_do_not_end_a_listing

            pages_cover_2500_records_in_both_directions
            ranges_select_and_page_in_both_directions
            a_cursor_survives_the_removal_of_its_record
            segments_cover_a_table_without_overlap

            an_index_pages_records_with_equal_sort_keys
            an_index_holds_whole_records_and_takes_ranges
            index_entries_follow_their_record

            partitions_do_not_leak_into_each_other
            prefixes_are_taken_literally
            sort_keys_are_ordered_by_their_bytes

            a_transaction_takes_100_writes
            more_than_100_writes_are_too_large
            one_key_twice_in_a_transaction_is_refused
            a_record_of_300_kilobytes_is_kept
            a_record_above_the_limit_is_too_large
            a_page_may_be_larger_than_one_answer

            concurrent_increments_lose_nothing
            of_concurrent_creations_exactly_one_wins
            crossing_transactions_stay_whole
            the_feed_has_no_gaps_under_concurrency

            every_kind_of_body_survives
            rules_and_used_proofs_survive
            authorization_models_survive
            token_keys_survive
            message_records_survive
            empty_fields_survive
        }
    };
}

/// All cases one after the other.
pub async fn run(store: Arc<dyn Store>) {
    store_cases!(suite_run[store]);
}
