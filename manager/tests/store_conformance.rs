//! Runs the conformance suite on every store.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

#[path = "store_common/cases.rs"]
mod cases;
#[path = "store_common/history.rs"]
mod history;
#[path = "store_common/reading.rs"]
mod reading;
#[path = "store_common/secrets.rs"]
mod secrets;
mod store_common;

use cases::*;
use history::*;
use reading::*;
use secrets::*;

macro_rules! conformance {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                Box::pin(super::$case(super::store_common::Rig::memory())).await;
            })*
        }
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                Box::pin(super::$case(super::store_common::Rig::sqlite())).await;
            })*
        }
    };
}

conformance! {
    everything_is_found_again_as_it_was
    who_is_revoked_is_found_again_and_who_is_restored_is_not
    nothing_is_found_in_an_empty_store
    the_same_changes_twice_are_the_same_as_once
    what_is_not_over_is_recovered_and_nothing_else
    every_state_of_a_run_comes_back
    release_end_and_queues_change_what_is_stored
    items_are_read_from_any_number_without_gaps
    a_page_of_items_is_bounded_in_bytes
    a_page_of_runs_is_bounded_in_bytes_of_faults
    a_new_attempt_counts_its_own_items
    a_list_is_filtered_and_paged_newest_first
    the_runs_of_a_job_come_in_pages_without_results
    a_deleted_job_leaves_nothing_and_frees_its_key
    retention_finds_the_oldest_ends_of_operators_and_of_agents_apart
    what_an_agent_says_comes_back_with_its_data
    calls_are_applied_in_the_order_they_were_handed_over
    a_full_disk_stores_nothing_of_a_call_and_is_overcome_without_restart
    a_broken_disk_stops_the_store_and_keeps_what_was_acknowledged
    a_closed_store_says_so
    the_secrets_of_an_ended_job_are_masked_and_stay_masked
    what_is_found_out_to_be_secret_later_is_masked_as_well
    every_event_is_stored_with_the_hash_of_all_before_it
    the_history_is_verified_in_parts
    retention_keeps_the_hash_before_the_oldest_event
    what_is_not_stored_is_not_chained
}
