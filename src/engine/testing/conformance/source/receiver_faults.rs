//! The rules about what a receiver may acknowledge, and what comes of it when a store fails or a life ends.

use super::receiver::ReceiverPlace;
use super::receiver_life::Job;
use super::scripted_log::Answer;
use crate::testing::conformance::rules::Rule;
use floodmark_store::block::ReceiveLimits;

/// What is asked of receivers whose sender keeps what was not acknowledged.
pub(super) fn rules<P: ReceiverPlace>() -> Vec<Rule<P>> {
    vec![
        ("nothing is acknowledged before it is durable", nothing_is_acknowledged_before_it_is_durable),
        ("what is durable is acknowledged", what_is_durable_is_acknowledged),
        limited_rate(),
        ("what the log refused is not acknowledged, and received again", what_was_refused_is_received_again),
        ("what was stored without an answer is neither lost nor counted twice", a_lost_answer_costs_nothing),
        ("a life that was killed loses nothing", a_killed_life_loses_nothing),
        ("a receiver that is started again loses nothing", a_restarted_receiver_loses_nothing),
    ]
}

/// What is asked of every receiver.
pub(super) fn limited_rate<P: ReceiverPlace>() -> Rule<P> {
    ("a limited rate holds the receiver up, and nothing is lost or acknowledged early", a_limited_rate_loses_nothing)
}

/// Small blocks and large ones wait for the rate at the same time, where a receiver's calls overlap.
fn a_limited_rate_loses_nothing<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_limited(place);
    for records in [1, 12, 7] {
        job.send(records);
        job.until_all_is_stored("sent to a receiver whose rate is limited");
    }
}

/// Every look compares what was acknowledged with what is durable; here the log takes its time.
fn nothing_is_acknowledged_before_it_is_durable<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_reliable(place);
    for _ in 0..3 {
        let before = job.stored();
        job.log.answer(Answer::Wait);
        job.send(10);
        job.until("a block was given to the log", |job| job.log.waiting() > 0);
        job.for_a_while();
        assert_eq!(job.stored(), before, "stored while the log waits");
        job.log.answer(Answer::Acknowledge);
        job.until_all_is_stored("sent while the log waited");
    }
}

fn what_is_durable_is_acknowledged<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_reliable(place);
    for _ in 0..2 {
        job.send(11);
        job.until_all_is_acknowledged();
    }
    // A life that ended before it could tell its sender: the next one must, or the sender keeps everything for ever.
    job.kill();
    job.next_life();
    job.send(1);
    job.until_all_is_acknowledged();
}

fn what_was_refused_is_received_again<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_reliable(place);
    for _ in 0..2 {
        job.send(5);
        job.until_all_is_stored("sent before the log failed");
        job.log.answer(Answer::Refuse);
        job.send(8);
        job.until("the log refused a block", |job| job.log.failures() > 0);
        job.for_a_while();
        job.kill();
        job.next_life();
        job.until_all_is_stored("refused by the log of the life before");
    }
}

fn a_lost_answer_costs_nothing<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_reliable(place);
    for _ in 0..3 {
        job.log.answer(Answer::Lose);
        job.send(8);
        job.until("the log took a block and did not say so", |job| job.log.failures() > 0);
        job.for_a_while();
        job.kill();
        job.next_life();
        job.until_all_is_stored("stored, or not, by a life that heard nothing of it");
    }
}

fn a_killed_life_loses_nothing<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_reliable(place);
    for round in 0_u64..8 {
        job.send(13);
        // With nothing of it stored, with some, with all; and with a store under way.
        let stored = job.stored() + round * 2;
        job.until("some of it was stored", |job| job.stored() >= stored.min(job.sent()));
        if round % 2 == 1 {
            job.log.answer(Answer::Wait);
            job.send(3);
            job.for_a_while();
        }
        job.kill();
        job.next_life();
    }
    job.until_all_is_stored("sent to lives that were killed");
}

/// Its future is dropped wherever it waits, for the log or for the backlog, and `on_start` is called again.
fn a_restarted_receiver_loses_nothing<P: ReceiverPlace>(place: &mut P) {
    let mut job = Job::begin_with(place, ReceiveLimits { backlog: 1, ..ReceiveLimits::default() });
    job.checks_acknowledgements = true;
    for round in 0..9 {
        match round % 3 {
            1 => job.log.answer(Answer::Wait),
            2 => job.plans = false,
            _ => {}
        }
        job.send(9);
        job.for_a_while();
        job.restart_receiver();
        job.for_a_while();
        job.log.answer(Answer::Acknowledge);
        job.plans = true;
        job.send(2);
        job.until_all_is_stored("sent before and after the receiver was started again");
    }
}
