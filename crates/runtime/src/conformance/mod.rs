//! What every [`ContainerRuntime`] promises, as tests.
//!
//! A runtime's test file says how it is opened ([`Subject`]) and calls
//! [`conformance_tests!`](crate::conformance_tests), which makes one `#[test]` of every promise.
//! Each test has a runtime root of its own, which is cleaned up whatever happens.

pub mod events;
pub mod image;
pub mod images;
pub mod lifecycle;
pub mod logs;
pub mod mounts;
pub mod network;
pub mod process;
pub mod resources;
pub mod security;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use longshore_seams::BoxFuture;

pub use self::world::{Finished, World};
use crate::{ContainerRuntime, RuntimeResult};

/// Longest that one promise may take.
const PROMISE_TIMEOUT: Duration = Duration::from_secs(60);

/// A runtime under test, with one root.
pub trait Subject: Send + Sync {
    /// Opens the runtime on the root. Later calls open it again, as a restarted process would.
    fn open(&self) -> BoxFuture<'_, RuntimeResult<Arc<dyn ContainerRuntime>>>;
}

/// Checks one promise of `subject`; panics when it is broken. Cleans up in any case.
///
/// # Panics
/// When the promise is broken.
pub fn check(subject: impl Subject + 'static, promise: impl for<'a> FnOnce(&'a World) -> BoxFuture<'a, ()>) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    tokio.block_on(async {
        let world = World::open(Arc::new(subject)).await;
        let checked = tokio::time::timeout(PROMISE_TIMEOUT, promise(&world));
        let outcome = AssertUnwindSafe(checked).catch_unwind().await;
        let cleaned = world.clean_up().await;
        match outcome {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(Err(_)) => panic!("not kept within {PROMISE_TIMEOUT:?}"),
            Ok(Ok(())) => cleaned.unwrap(),
        }
    });
}

/// Makes one `#[test]` of every promise. `$subject` is a function that makes a fresh
/// [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ident) => {
        $crate::conformance_tests! { $subject;
            events:
                start_and_end_are_told,
                every_listener_is_told,
                a_passing_check_makes_healthy,
                failing_checks_make_unhealthy,
                a_slow_check_fails,
                the_image_s_check_does_not_count,
            ;
            images:
                a_docker_archive_is_imported,
                importing_tells_its_progress,
                an_image_without_a_name_takes_the_given_one,
                an_oci_layout_is_imported,
                an_oci_archive_is_imported,
                upper_layers_cover_lower_ones,
                what_is_no_archive_is_refused,
                a_damaged_layer_is_refused,
                an_unreachable_registry_fails_the_pull,
            ;
            lifecycle:
                a_container_runs_to_its_end,
                a_container_keeps_its_name_and_labels,
                the_exit_code_is_the_process_s_own,
                a_killed_process_exits_with_137,
                a_terminated_process_exits_with_143,
                stop_lets_the_process_end_by_itself,
                stop_kills_after_the_timeout,
                stop_sends_the_container_s_own_signal,
                stop_sends_the_image_s_signal,
                create_again_answers_the_same_container,
                repeated_calls_succeed,
                remove_kills_a_running_container,
                a_removed_name_is_free,
                an_unknown_container_is_named_in_the_error,
                a_missing_image_is_named_in_the_error,
                a_missing_executable_fails_the_start,
                a_file_that_is_no_program_fails_the_start,
                list_finds_by_labels,
                a_reopened_root_has_its_containers,
                containers_run_side_by_side,
                cleanup_leaves_nothing,
                a_runtime_says_what_it_is,
            ;
            logs:
                both_outputs_are_captured,
                output_is_followed,
                output_is_followed_from_before_the_start,
                reading_goes_on_after_any_line,
                broken_off_reading_neither_misses_nor_repeats,
                a_burst_before_the_end_is_complete,
                long_lines_are_split,
                an_unfinished_last_line_is_read,
                a_terminal_s_output_is_captured,
                silence_is_no_output,
            ;
            mounts:
                a_host_directory_is_shared_and_made,
                a_host_file_is_mounted,
                a_read_only_mount_is_not_written,
                a_volume_outlives_its_containers,
                a_volume_is_a_directory_on_the_host,
                an_empty_volume_gets_the_image_s_files,
                another_container_s_mounts_are_taken_over,
                memory_is_mounted_with_size_and_options,
                inner_mounts_are_on_top,
                each_container_has_its_own_root,
                a_volume_takes_driver_and_labels,
            ;
            network:
                a_bridged_container_has_an_address,
                containers_reach_each_other,
                a_bridged_container_has_a_route,
                a_fixed_host_port_leads_to_the_container,
                a_published_port_is_reached_from_containers,
                a_datagram_port_leads_to_the_container,
                dynamic_host_ports_are_chosen,
                a_port_can_be_published_on_one_address,
                a_host_port_serves_one_container,
                a_stopped_container_frees_its_ports,
                a_host_process_keeps_its_port,
                host_mode_shares_the_host_s_network,
                none_mode_has_only_loopback,
                networking_can_be_off,
                a_network_can_be_shared,
                name_servers_are_as_given,
                name_servers_come_from_the_host_else,
                the_hosts_file_has_the_given_names,
                a_link_is_a_name,
                traffic_is_counted,
                a_published_port_carries_both_directions,
            ;
            process:
                entry_point_and_command_replace_the_image_s,
                the_image_s_defaults_apply,
                environment_is_laid_over_the_image_s,
                the_working_directory_is_made,
                every_form_of_user_is_understood,
                an_unknown_user_fails_the_start,
                the_host_name_is_as_given,
                a_terminal_is_allocated_when_asked_for,
                standard_input_is_empty_unless_kept_open,
                init_reaps_and_forwards,
                the_command_is_process_1,
                a_process_namespace_can_be_shared,
                an_ipc_namespace_can_be_shared,
            ;
            resources:
                memory_is_limited,
                too_small_a_memory_limit_is_raised,
                memory_is_reserved,
                swap_is_limited,
                exceeding_the_memory_limit_kills,
                cpu_shares_are_the_cgroup_s_weight,
                cpu_time_is_limited,
                processes_are_limited,
                process_limits_apply,
                shared_memory_has_its_size,
                kernel_parameters_are_set,
                usage_is_counted,
            ;
            security:
                capabilities_are_docker_s_default_set,
                capabilities_can_be_added_and_dropped,
                all_capabilities_can_be_added_or_dropped,
                another_user_has_no_capabilities,
                system_calls_are_filtered,
                the_filter_follows_the_capabilities,
                the_filter_can_be_left_out,
                mounting_is_refused,
                new_privileges_can_be_ruled_out,
                kernel_files_are_masked_or_read_only,
                a_privileged_container_is_not_sandboxed,
                only_harmless_devices_are_there,
                a_device_can_be_given,
                a_missing_device_is_an_error,
                the_root_file_system_can_be_read_only,
            ;
        }
    };
    ($subject:ident; $($area:ident: $($promise:ident),+ $(,)?;)+) => {
        $(mod $area {
            $(#[test]
            fn $promise() {
                $crate::conformance::check(super::$subject(), |world| {
                    Box::pin($crate::conformance::$area::$promise(world))
                });
            })+
        })+
    };
}
