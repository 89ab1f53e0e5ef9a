//! What every [`Store`] must do, as cases that any implementation and any
//! decorator runs.
//!
//! ```ignore
//! struct Fresh;
//!
//! #[async_trait]
//! impl Harness for Fresh {
//!     async fn fresh(&self) -> Arc<dyn Store> { Arc::new(MemoryStore::new()) }
//! }
//!
//! mod memory {
//!     ffrtmp_core::store_conformance!(super::Fresh);
//! }
//! ```
//!
//! The cases assume only the trait: no clock, no node that is registered before it claims, no
//! sequence numbers without gaps.

#![allow(clippy::missing_panics_doc, reason = "a case says what it found by panicking")]

use std::sync::Arc;

use async_trait::async_trait;

use crate::store::Store;

pub mod agreeing;
pub mod archiving;
pub mod bounding;
pub mod claiming;
pub mod closing;
pub mod crowding;
pub mod finding;
mod fixture;
pub mod history;
pub mod lanes;
pub mod lifecycle;
pub mod matching;
mod model;
pub mod nodes;
pub mod racing;
pub mod sharing;
pub mod submission;
pub mod timing;
pub mod waking;

/// Makes the stores that a case works on.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new, empty store that nobody else uses.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// The store that `fresh` made last, opened again after the case closed and dropped it; `None`
    /// where nothing outlives the process.
    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Another handle on the store that `fresh` made last, as a second master has it; `None` where
    /// a store has one owner. Both handles live at the same time.
    async fn second(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

macro_rules! cases {
    ($dollar:tt $($module:ident { $($case:ident,)* })*) => {
        /// The names of all cases, as `module::case`.
        pub const CASES: &[&str] = &[$($(concat!(stringify!($module), "::", stringify!($case)),)*)*];

        /// Runs every case, one after the other.
        pub async fn run_all(harness: &dyn Harness) {
            $($($module::$case(harness).await;)*)*
        }

        /// One `#[tokio::test]` per case. The argument is an expression that makes a
        /// [`Harness`](crate::conformance::store::Harness); each test makes its own. The crate that
        /// calls it needs `tokio` with `macros` and `rt-multi-thread`.
        #[macro_export]
        macro_rules! store_conformance {
            ($dollar harness:expr) => {
                $(mod $module {
                    $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn $case() {
                        $crate::conformance::store::$module::$case(&$dollar harness).await;
                    })*
                })*
            };
        }
    };
}

cases! { $
    submission {
        sequence_numbers_grow_from_one,
        a_stored_job_comes_back_whole,
        a_key_makes_a_submission_repeatable,
        a_key_with_another_digest_is_refused,
        the_same_key_twice_in_a_batch_is_one_job,
        keys_belong_to_a_tenant,
        a_batch_is_stored_whole_or_not_at_all,
        an_empty_batch_is_nothing,
        a_job_id_is_stored_once,
        an_unknown_dependency_is_refused,
        a_job_waits_for_its_dependencies,
        completed_dependencies_make_it_ready_at_once,
        an_ended_dependency_fails_it_at_once,
        a_batch_may_name_its_own_jobs_in_any_order,
        failure_passes_through_a_chain_of_one_batch,
        a_circle_is_refused,
        a_dependency_named_twice_counts_once,
        dependents_are_those_that_wait,
    }
    claiming {
        an_empty_queue_gives_nothing,
        no_slots_give_nothing,
        lowest_rank_comes_first,
        ties_go_by_sequence_number,
        slots_are_an_upper_bound,
        a_claim_opens_an_attempt,
        only_queued_jobs_are_given,
        a_node_gets_what_it_can_run,
        labels_that_look_alike_stay_apart,
        classes_merge_by_rank,
        unrunnable_jobs_in_front_cost_nothing,
        rerank_moves_queued_jobs,
        rerank_skips_what_is_not_queued,
        lanes_are_counted,
    }
    lifecycle {
        an_attempt_runs_to_its_end,
        finishing_twice_is_one_effect,
        a_stale_fence_changes_nothing,
        another_node_may_not_finish,
        fences_grow_with_every_attempt,
        a_terminal_failure_ends_the_job,
        a_transient_failure_waits_and_returns,
        what_was_spent_stays_with_the_job,
        retries_run_out,
        a_released_job_is_queued_again,
        evicting_needs_the_current_fence,
        canceling_ends_every_open_state,
        pausing_a_queued_job_hides_it,
        pausing_a_running_job_keeps_its_node,
        a_retry_is_a_new_round,
        a_rejected_job_says_why,
        a_refused_command_does_not_stop_the_others,
        commands_for_one_job_build_on_each_other,
        a_report_that_json_cannot_hold_does_no_harm,
    }
    bounding {
        a_queue_holds_no_more_than_its_cap,
        a_tenant_holds_no_more_than_its_cap,
        a_named_tenant_has_a_cap_of_its_own,
        both_caps_must_have_room,
        caps_count_all_lanes_together,
        a_capped_lane_in_front_blocks_nobody,
        a_cap_of_nothing_gives_nothing,
        a_lower_cap_takes_nothing_back,
        every_end_of_an_attempt_frees_its_place,
        a_frozen_attempt_keeps_its_place,
        caps_outlive_a_reopen,
        a_node_holds_no_more_than_its_sessions,
        sessions_are_counted_by_node,
        jobs_without_a_device_pass_by,
        every_end_of_an_attempt_frees_its_session,
        caps_are_exact_among_sixteen_claimers,
        a_tenant_cap_is_exact_among_sixteen_claimers,
        sessions_are_exact_among_sixteen_claims_of_one_node,
    }
    lanes {
        lanes_are_apart_by_tenant_queue_and_needs,
        a_lane_knows_its_first_and_last_rank,
        a_lane_without_jobs_is_left_out,
        lanes_come_and_go,
        five_hundred_lanes_merge_by_rank,
        a_new_lane_is_seen_by_the_next_claim,
        rerank_moves_the_bounds_of_a_lane,
        many_jobs_are_reranked_at_once,
        a_requeued_job_keeps_its_place,
        a_resumed_job_keeps_its_place,
        a_retried_job_keeps_its_place,
    }
    matching {
        memory_and_disk_must_suffice,
        an_encoder_must_be_listed,
        an_encoder_on_a_device_must_be_listed,
        a_device_must_be_there,
        an_offer_counts_as_it_is_now,
    }
    history {
        every_attempt_is_kept,
        an_open_attempt_says_when_it_began,
        each_end_is_told_apart,
        a_poison_job_ends_with_the_whole_story,
        a_new_round_keeps_the_rounds_before,
        a_long_history_keeps_its_newest_part,
        history_and_deadline_outlive_a_reopen,
        a_deadline_comes_back_as_it_was,
        pauses_and_rounds_repeat_without_end,
    }
    archiving {
        a_finish_is_answered_again_long_after,
        late_words_about_an_ended_job_are_stale,
        ended_and_open_jobs_share_lists_and_pages,
        pages_hold_while_jobs_end,
        a_prefix_counts_ended_jobs,
        logs_go_on_after_the_end,
        a_retried_job_is_open_everywhere,
        an_ended_job_keeps_its_key,
        an_ended_job_settles_what_is_submitted_later,
    }
    crowding {
        many_heartbeats_renew_at_once,
        stale_heartbeats_stop_nobody,
        a_batch_of_ends_is_answered_in_order,
        two_ends_in_one_batch_are_one_effect,
        a_claim_of_many_is_renewed_started_and_finished,
        a_dependency_that_ends_meanwhile_is_not_missed,
        a_failing_dependency_that_ends_meanwhile_is_not_missed,
        dependents_are_let_go_once,
        heartbeats_and_ends_agree,
        a_pause_and_a_claim_agree,
        reranks_lose_nobody,
        a_purge_and_a_new_dependent_agree,
        logs_of_many_writers_are_all_kept,
    }
    agreeing {
        every_command_in_every_state_does_what_the_job_says,
        random_stories_agree_with_a_plain_model,
    }
    sharing {
        exactly_one_handle_leads,
        the_lead_passes_on_when_its_holder_closes,
        a_follower_is_told_the_time,
        a_second_handle_sees_everything,
        a_second_handle_wakes,
        an_attempt_may_change_hands_at_any_step,
        two_handles_give_every_job_once,
        caps_are_exact_across_handles,
        keys_and_numbers_are_common,
    }
    timing {
        due_comes_oldest_first,
        due_is_bounded,
        a_renewed_lease_is_not_due,
        a_frozen_attempt_can_come_due,
        ended_jobs_are_never_due,
        purge_removes_what_ended_before,
        purge_is_bounded_and_oldest_first,
        purge_keeps_what_a_waiting_job_names,
        a_purged_key_is_free_again,
        a_purged_sequence_number_is_never_given_again,
        a_retried_job_is_not_purged,
    }
    finding {
        jobs_are_found_by_id_number_and_prefix,
        a_prefix_must_be_unique,
        what_is_missing_is_not_found,
        lists_are_newest_first,
        pages_cover_everything_once,
        every_filter_filters,
        filters_must_all_match,
        labels_are_compared_literally,
        counts_follow_the_jobs,
        logs_keep_order_and_attempt,
        logs_keep_the_newest_lines,
        a_log_longer_than_the_limit_in_one_call,
        many_logs_in_one_call,
        logs_of_an_unknown_job,
    }
    nodes {
        a_node_registers_once_and_again,
        nodes_are_listed_by_name,
        commands_change_a_node,
        a_removed_node_is_gone,
        an_unknown_node_is_not_found,
        telemetry_that_json_cannot_hold_does_no_harm,
    }
    waking {
        a_submission_wakes,
        a_waiting_job_that_is_ready_wakes,
        requeue_resume_retry_and_release_wake,
    }
    racing {
        every_job_goes_to_exactly_one_claim,
        a_claim_and_a_cancel_agree,
        a_finish_and_an_evict_agree,
        one_key_from_many_callers_is_one_job,
        different_digests_under_one_key_have_one_winner,
        many_finishes_are_one_effect,
        sequence_numbers_are_unique,
        a_dropped_call_is_done_or_not_done,
        refused_calls_do_not_undo_their_neighbours,
    }
    closing {
        check_answers,
        closing_twice_is_one_effect,
        a_closed_store_is_unavailable,
        everything_outlives_a_reopen,
        the_queue_goes_on_after_a_reopen,
        what_was_answered_before_the_close_is_kept,
    }
}
