//! The rows about what is held: connections, subscriptions, queued messages; and about connections
//! that are opened and closed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::job::{Job, Outcome};
use crate::link::{Opened, Opener};
use crate::load::Reading;
use crate::process::Sample;
use crate::wire::{PublishTemplate, Stamp};

/// Opens connections, waits, and reads what the broker's memory has grown by.
pub(crate) fn idle(job: &Job, connections: usize) -> io::Result<Outcome> {
    let opener = Opener::new(job)?;
    let settle = Duration::from_millis(job.measure_ms.min(2000));
    // The first connection pays for what every later one shares.
    let first = opener.open(connections)?;
    thread::sleep(settle);
    let before = Sample::of(job.broker_pid)?;
    let held = (0..connections)
        .map(|number| opener.open(number))
        .collect::<io::Result<Vec<_>>>()?;
    thread::sleep(settle);
    let after = Sample::of(job.broker_pid)?;
    let kept = held
        .iter()
        .filter(|connection| connection.is_open())
        .count() as u64;
    let expected = connections as u64;
    drop(first);
    Ok(Outcome {
        void: (kept < expected).then(|| format!("{} connections were closed", expected - kept)),
        delivered: kept,
        expected,
        counted: kept,
        broker_rss_kib: after.rss_kib,
        broker_peak_kib: after.peak_kib,
        rss_growth_kib: Some(after.rss_kib as i64 - before.rss_kib as i64),
        ..Outcome::default()
    })
}

/// Filters in one SUBSCRIBE.
const FILTERS: usize = 100;

/// What the broker's memory has grown by while `work` made `count` things.
fn grown(
    job: &Job,
    count: usize,
    work: impl FnOnce() -> io::Result<Vec<Opened>>,
) -> io::Result<Outcome> {
    let settle = Duration::from_millis(job.measure_ms.min(2000));
    thread::sleep(settle);
    let before = Sample::of(job.broker_pid)?;
    let mut held = work()?;
    thread::sleep(settle);
    let after = Sample::of(job.broker_pid)?;
    let matching = match held.first_mut() {
        Some(publisher) => Some(matching(job, publisher)?),
        None => None,
    };
    drop(held);
    Ok(Outcome {
        delivered: count as u64,
        expected: count as u64,
        counted: count as u64,
        broker_rss_kib: after.rss_kib,
        broker_peak_kib: after.peak_kib,
        rss_growth_kib: Some(after.rss_kib as i64 - before.rss_kib as i64),
        making_cpu_us: Some((after.cpu_ns - before.cpu_ns) as f64 / 1000.0 / count as f64),
        matching_cpu_us: matching,
        ..Outcome::default()
    })
}

/// What it costs to find out that nobody wants a message: as many topics as no cache holds.
fn matching(job: &Job, publisher: &mut Opened) -> io::Result<f64> {
    const MESSAGES: usize = 50_000;
    let before = Sample::of(job.broker_pid)?;
    let stamp = Stamp {
        stream: 0,
        sequence: 0,
        sent_ns: 0,
    };
    let mut packets = Vec::new();
    for number in 0..MESSAGES {
        let (site, device) = (number % 100, number / 100);
        let topic = format!("site/{site}/device/{device}/nobody");
        PublishTemplate::new(&topic, 0, 64).append(&mut packets, 0, &stamp);
        if packets.len() > 64 * 1024 {
            publisher.publish_all(&packets)?;
            packets.clear();
        }
    }
    publisher.publish_all(&packets)?;
    // Answered when everything before it was taken.
    publisher.publish_acked(&PublishTemplate::new("site/nobody", 1, 64))?;
    let after = Sample::of(job.broker_pid)?;
    Ok((after.cpu_ns - before.cpu_ns) as f64 / 1000.0 / MESSAGES as f64)
}

/// Publishes retained messages, then lets one subscriber take them all: what is counted is the taking.
pub(crate) fn retained(job: &Job, topics: usize) -> io::Result<Outcome> {
    let opener = Opener::new(job)?;
    let mut stored = grown(job, topics, || {
        let mut publisher = opener.open(0)?;
        let stamp = Stamp {
            stream: 0,
            sequence: 0,
            sent_ns: 0,
        };
        let mut packets = Vec::new();
        for number in 0..topics {
            let (site, device) = (number % 1_000, number / 1_000);
            let topic = format!("site/{site}/device/{device}/state");
            PublishTemplate::retained(&topic, 64).append(&mut packets, 0, &stamp);
            if packets.len() > 64 * 1024 {
                publisher.publish_all(&packets)?;
                packets.clear();
            }
        }
        publisher.publish_all(&packets)?;
        publisher.publish_acked(&PublishTemplate::new("site/nobody", 1, 64))?;
        Ok(vec![publisher])
    })?;
    let mut taker = opener.open(1)?;
    let before = Reading::with_count(job.broker_pid, 0)?;
    // Its SUBACK may come behind the first messages.
    taker.publish_all(&crate::wire::subscribe(1, &["#".to_owned()], 0))?;
    taker.receive(topics)?;
    let taken = Reading::with_count(job.broker_pid, topics as u64)?.since(&before);
    stored.broker_cpu_s = taken.broker_cpu_s;
    stored.broker_context_switches = taken.broker_context_switches;
    stored.generator_cpu_s = taken.generator_cpu_s;
    stored.window_s = taken.window_s;
    Ok(stored)
}

/// Opens connections, then subscribes each of them to filters of its own.
pub(crate) fn subscriptions(job: &Job, connections: usize, of_each: usize) -> io::Result<Outcome> {
    let opener = Opener::new(job)?;
    let mut held = (0..connections)
        .map(|number| opener.open(number))
        .collect::<io::Result<Vec<_>>>()?;
    grown(job, connections * of_each, || {
        for (connection, opened) in held.iter_mut().enumerate() {
            let filters: Vec<String> = (0..of_each)
                .map(|number| format!("site/{connection}/device/{number}/state"))
                .collect();
            for some in filters.chunks(FILTERS) {
                opened.subscribe(some, 1)?;
            }
        }
        Ok(held)
    })
}

/// Makes sessions whose clients go away, then publishes to each.
pub(crate) fn queued(job: &Job, sessions: usize, for_each: usize) -> io::Result<Outcome> {
    let opener = Opener::new(job)?;
    for session in 0..sessions {
        let mut opened = opener.open_kept(session)?;
        opened.subscribe(&[format!("away/{session}")], 1)?;
        opened.disconnect();
    }
    grown(job, sessions * for_each, || {
        let mut publisher = opener.open(sessions)?;
        for session in 0..sessions {
            let template = PublishTemplate::new(&format!("away/{session}"), 1, 64);
            for _ in 0..for_each {
                publisher.publish_acked(&template)?;
            }
        }
        Ok(vec![publisher])
    })
}

/// Connects and disconnects on several threads, so that the broker is never without work.
pub(crate) fn connects(job: &Job, threads: usize) -> io::Result<Outcome> {
    let opener = Opener::new(job)?;
    let done = AtomicU64::new(0);
    let number = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let opened: Opened = opener.open(number.fetch_add(1, Ordering::Relaxed))?;
            opened.disconnect();
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        thread::sleep(Duration::from_millis(job.warm_up_ms));
        let before = Reading::with_count(job.broker_pid, done.load(Ordering::Relaxed));
        thread::sleep(Duration::from_millis(job.measure_ms));
        let after = Reading::with_count(job.broker_pid, done.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
        let results = workers
            .into_iter()
            .map(|worker| worker.join().expect("workers do not panic"));
        let void = results
            .filter_map(Result::err)
            .map(|error| error.to_string())
            .next();
        let mut outcome = after?.since(&before?);
        outcome.void = void;
        outcome.delivered = done.load(Ordering::Relaxed);
        outcome.expected = outcome.delivered;
        Ok(outcome)
    })
}
