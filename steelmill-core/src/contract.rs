//! The conformance suite for worlds: one async function per behaviour, generic over the world.
//!
//! The runtime world's tests run it over the operating system's loopback, the sim's inside a simulation. Where the two
//! disagree, the sim is wrong. A world's test file is a function that runs one behaviour, and one line:
//!
//! ```text
//! fn check<F: Future<Output = ()> + Send>(behaviour: impl FnOnce(MyWorld) -> F) { /* run it */ }
//!
//! steelmill_core::contract_tests!(check);
//! ```
//!
//! The macro makes a `#[test]` of every behaviour. A behaviour panics if the world violates it, or hangs, so `check` should
//! have a time limit.
//!
//! A behaviour uses only the traits of this crate, tokio's `AsyncReadExt` and `AsyncWriteExt`, and the world's tasks and
//! timers. It waits without a limit for what must happen, and for `A_WHILE` to see that something does *not* happen.
#![allow(clippy::unwrap_used, reason = "a behaviour is a test: panicking is how it reports")]
#![allow(missing_docs, reason = "a behaviour's name is the sentence it checks")]

pub mod clock;
pub mod closing;
pub mod entropy;
pub mod halves;
pub mod listening;
pub mod names;
pub mod sockets;
pub mod spawn;
pub mod streams;
pub mod udp;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::{Clock, Network, TcpListener, TcpStream, World};

type Listener<W> = <<W as World>::Network as Network>::TcpListener;
type Stream<W> = <<W as World>::Network as Network>::TcpStream;
type Socket<W> = <<W as World>::Network as Network>::UdpSocket;

/// Any free port of this host.
const LOOPBACK: (std::net::IpAddr, u16) = (std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How long to wait for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(20);

/// A listener on a free port, and its address.
async fn listener<W: World>(world: &W) -> (Listener<W>, SocketAddr) {
    let listener = world.network().bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Whether this host has an IPv6 loopback. Real hosts may lack one; the sim's have one, and test that.
async fn has_ipv6<W: World>(world: &W) -> bool {
    world.network().bind("[::1]:0").await.is_ok()
}

/// How often to ask for what another process of a shared host may have taken: a port.
const TRIES: usize = 10;

/// Both ends of a new connection: the connecting and the accepting one.
async fn connection<W: World>(world: &W) -> (Stream<W>, Stream<W>) {
    let (listener, address) = listener(world).await;
    let client = world.network().connect(address).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (client, server)
}

/// Waits until everything in flight within a host has arrived.
async fn settle<W: World>(world: &W) {
    world.clock().sleep(A_WHILE).await;
}

/// Whether `future` is still waiting after `A_WHILE`.
async fn waits<W: World, F: Future + Send>(world: &W, future: F) -> bool {
    world.clock().timeout(A_WHILE, future).await.is_err()
}

/// A pending wait for readability. It may resolve spuriously at first, as readiness of a new socket is reported late; reads
/// that find nothing make it wait.
async fn readable_that_waits<'a, W: World, S: TcpStream>(
    world: &W,
    stream: &'a S,
) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>> {
    for _ in 0..10 {
        assert_eq!(error_kind(stream.try_read(&mut [0])), io::ErrorKind::WouldBlock);
        let mut readable: Pin<Box<dyn Future<Output = _> + Send + 'a>> = Box::pin(stream.readable());
        if waits(world, &mut readable).await {
            return readable;
        }
    }
    panic!("readiness never becomes pending");
}

/// The kind of the expected error.
fn error_kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.err().expect("an error is expected").kind()
}

/// Observes whether the future that holds the other half was dropped.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicBool>);

impl Dropped {
    fn on_drop(&self) -> impl Drop + Send + use<> {
        struct Guard(Arc<AtomicBool>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        Guard(self.0.clone())
    }

    fn happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Makes a `#[test]` of every behaviour of the [conformance suite](crate::contract), in one module per topic. `check` is
/// the function that runs one in the world under test.
#[macro_export]
macro_rules! contract_tests {
    ($check:ident) => {
        $crate::contract_tests! {
            $check:
            clock {
                now_never_goes_back
                a_sleep_takes_at_least_its_duration
                a_sleep_of_no_duration_ends
                sleep_until_takes_until_its_instant
                sleep_until_the_past_returns
                the_longest_sleep_does_not_overflow
                a_dropped_sleep_disturbs_no_other
                a_sleep_can_move_to_another_task
                sleeps_end_in_the_order_of_their_deadlines
                a_thousand_sleeps_all_end
                the_wall_clock_moves_with_time
                a_timeout_passes_on_what_is_in_time
                a_timeout_drops_what_takes_too_long
                what_is_ready_wins_over_a_timeout_of_zero
                an_interval_ticks_at_once_and_then_every_period
                missed_ticks_follow_without_a_pause
                after_a_late_tick_a_delayed_interval_waits_a_whole_period
                after_a_late_tick_a_skipping_interval_keeps_its_phase
                an_interval_of_the_longest_period_ticks_once
                a_dropped_tick_is_not_lost
            }
            entropy {
                draws_differ
                draws_cover_the_whole_range
                ones_and_zeros_are_equally_likely
                buffers_of_any_length_are_filled
                handles_share_one_sequence
                a_handle_can_move_to_another_task
            }
            spawn {
                the_waker_of_a_first_poll_wakes_the_task_later_on
                a_task_gives_its_output_through_its_handle
                a_task_runs_without_being_awaited
                a_dropped_handle_lets_the_task_run_on
                a_panic_becomes_an_error_with_its_message
                an_abort_drops_the_future
                an_abort_before_the_first_poll_drops_the_future
                an_abort_after_the_end_keeps_the_output
                is_finished_tells_when_a_task_has_ended
                a_task_can_spawn_a_task
                a_task_that_yields_lets_others_run
                a_thousand_tasks_all_end
                waking_an_ended_task_does_nothing
            }
            names {
                a_written_address_is_its_own_answer
                a_number_is_an_address_in_each_of_its_forms
                localhost_is_this_host
                an_unknown_name_is_an_error_that_tells_it
                an_address_without_a_port_is_malformed
                a_port_beyond_sixteen_bits_is_malformed
                every_way_to_write_an_address_leads_to_it
                connect_finds_a_listener_by_name
                names_have_no_case
                bind_takes_a_name
                several_addresses_are_tried_in_turn
                the_error_of_the_last_address_is_that_of_all
            }
            sockets {
                a_bound_socket_connects_from_where_it_is_bound
                an_unbound_socket_is_nowhere_and_connects_from_a_free_port
                a_socket_is_bound_once
                a_bound_socket_holds_its_port_until_it_is_dropped
                the_port_of_a_bound_connection_is_free_when_it_is_reset
                a_socket_listens_with_the_backlog_that_it_is_given
                an_unbound_socket_listens_at_a_free_port
                a_port_is_shared_by_listeners_that_all_reuse_it
                an_address_in_time_wait_is_bound_by_those_who_reuse_it
                options_of_a_socket_are_kept_and_inherited
                buffers_are_twice_as_large_as_they_are_set
                a_connect_of_a_socket_to_nobody_is_refused
                a_socket_of_ipv6_connects_over_ipv6
            }
            listening {
                connect_to_nobody_is_refused
                port_zero_is_nobodys
                a_connection_is_up_before_it_is_accepted
                both_ends_agree_on_their_addresses
                port_zero_takes_a_free_port
                every_connection_has_its_own_port
                an_address_in_use_cannot_be_bound_again
                a_foreign_address_cannot_be_bound
                a_dropped_listener_frees_its_address
                a_listener_can_return_while_old_connections_live
                a_listener_on_all_addresses_accepts_on_one_of_them
                all_addresses_and_one_of_them_collide
                connections_are_accepted_in_their_order
                a_waiting_accept_is_woken_by_a_connection
                two_waiting_accepts_get_a_connection_each
                a_cancelled_accept_loses_no_connection
                an_accepted_connection_outlives_its_listener
                a_connection_nobody_accepted_is_reset_with_the_listener
                a_connection_closed_early_is_accepted_with_what_it_sent
                a_connection_reset_early_is_accepted_and_tells
                a_full_backlog_makes_connects_wait
                an_abandoned_connect_never_surfaces
                the_port_of_a_connection_cannot_be_listened_on
                a_port_can_be_held_on_two_addresses_of_a_host
                the_unspecified_address_leads_to_this_host
                an_unreachable_address_fails_at_once
                ipv6_has_a_loopback_too
                an_ipv6_loopback_leaves_the_port_of_the_other_family_free
                a_listener_on_all_ipv6_addresses_takes_ipv4
                a_mapped_address_leads_to_ipv4
            }
            streams {
                what_one_end_writes_the_other_reads
                a_long_transfer_arrives_whole_both_ways
                a_short_read_leaves_the_rest
                writes_run_together
                a_read_into_nothing_takes_nothing
                a_write_of_nothing_sends_nothing
                a_read_into_nothing_waits_for_something
                a_waiting_read_is_woken_by_data
                a_cancelled_read_loses_nothing
                a_write_waits_while_nobody_reads
                a_write_takes_what_fits
                a_vectored_write_keeps_the_order_of_its_slices
                a_half_writes_slices_too
                peek_leaves_the_data
                peek_takes_no_more_than_it_has_room_for
                a_waiting_peek_is_woken_by_data
                try_read_would_block_where_nothing_is
                try_read_takes_what_is_there
                try_write_would_block_where_nothing_fits
                readable_waits_for_data
                writable_waits_for_room
                nodelay_is_kept
                ttl_is_kept
                linger_is_kept
                options_are_kept_after_a_reset
            }
            closing {
                a_dropped_stream_ends_the_peers_reading
                the_end_comes_after_the_data
                the_end_stays_the_end
                shutdown_ends_one_direction_only
                both_directions_can_be_shut_down
                a_second_shutdown_is_harmless
                writing_after_ones_own_shutdown_is_a_broken_pipe
                writing_to_a_closed_peer_fails_in_the_end
                closing_with_unread_data_resets_the_peer
                zero_linger_resets_the_peer
                what_came_before_a_reset_can_be_read
                a_reset_is_told_once
                a_waiting_read_is_woken_by_the_end
                a_waiting_read_is_woken_by_a_reset
                a_waiting_write_is_woken_by_a_reset
                readable_is_woken_by_the_end
                peek_sees_the_end
                an_aborted_task_closes_its_streams
                a_write_of_nothing_fails_as_any_other
                a_write_can_be_the_one_to_be_told_of_a_reset
                a_peek_can_be_the_one_to_be_told_of_a_reset
                take_error_takes_the_reset
                there_is_no_error_to_take_where_nothing_went_wrong
                a_reset_after_the_end_leaves_reading_at_the_end
                what_came_before_the_end_survives_a_reset
                a_reset_is_told_after_ones_own_shutdown
                a_reset_connection_has_no_peer
                a_connection_that_ended_both_ways_has_no_peer
                shutdown_never_fails
                a_half_closed_connection_carries_any_amount_the_other_way
                writable_is_woken_by_a_reset
                a_waiting_peek_is_woken_by_a_reset
                a_broken_connection_is_ready_for_anything
                the_end_stays_readable
                a_stream_is_writable_after_ones_own_shutdown
                data_for_a_closed_end_is_answered_with_a_reset
            }
            halves {
                borrowed_halves_work_at_the_same_time
                owned_halves_work_in_two_tasks
                dropping_the_write_half_ends_the_peers_reading
                dropping_the_read_half_closes_nothing
                dropping_both_halves_closes
                reunited_halves_are_the_stream_again
                halves_of_two_streams_do_not_reunite
                both_halves_can_wait_at_the_same_time
            }
            udp {
                a_datagram_arrives_with_its_sender
                datagrams_keep_their_bounds
                an_empty_datagram_is_one
                the_longest_datagram_arrives
                a_datagram_too_long_to_send_is_an_error
                a_datagram_too_long_for_the_buffer_is_clipped
                a_connected_socket_knows_its_peer
                a_connected_socket_hears_only_its_peer
                a_connected_socket_is_told_that_nobody_listens
                an_unconnected_socket_has_no_peer
                a_datagram_to_nobody_is_swallowed
                a_datagram_finds_its_target_by_name
                a_socket_on_all_addresses_receives_on_one_of_them
                a_socket_can_send_to_itself
                a_port_in_use_cannot_be_bound_again
                a_dropped_socket_frees_its_port
                udp_and_tcp_have_their_own_ports
                try_recv_would_block_where_nothing_is
                a_waiting_recv_is_woken_by_a_datagram
                two_waiting_receivers_get_a_datagram_each
                a_cancelled_recv_loses_nothing
                a_datagram_into_no_buffer_is_lost
                peek_from_leaves_the_datagram
                a_full_queue_loses_the_newest
                readable_waits_for_a_datagram
                a_refusal_makes_nothing_readable
                take_error_takes_the_refusal
                a_refusal_comes_before_datagrams
                a_connected_socket_can_send_elsewhere
                a_socket_can_connect_anew
                what_came_before_connect_is_received
                connecting_picks_the_address
                a_port_can_be_held_on_two_addresses_of_a_host
                the_unspecified_address_leads_to_this_host
                port_zero_cannot_be_sent_to
                loopback_reaches_nobody_else
                an_ipv4_socket_has_no_way_to_ipv6
                an_ipv6_address_has_no_way_to_ipv4
                the_longest_datagram_of_ipv6_arrives
                a_socket_on_all_ipv6_addresses_speaks_ipv4
                ttl_is_kept
            }
        }
    };
    ($check:ident: $($topic:ident { $($behaviour:ident)+ })+) => {
        $(
            mod $topic {
                $(
                    #[test]
                    fn $behaviour() {
                        super::$check($crate::contract::$topic::$behaviour)
                    }
                )+
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_behaviour_is_in_the_list() {
        let is_name = |text: &char| text.is_ascii_alphanumeric() || *text == '_';
        let list: BTreeSet<&str> = include_str!("contract.rs").split(|c| !is_name(&c)).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/contract");
        let mut found = 0;
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            for behaviour in fs::read_to_string(&path).unwrap().split("\npub async fn ").skip(1) {
                let name: String = behaviour.chars().take_while(is_name).collect();
                assert!(list.contains(name.as_str()), "{name} of {path:?} is missing in contract_tests!");
                found += 1;
            }
        }
        assert!(found > 100, "found only {found} behaviours: does this test still know where they are?");
    }
}
