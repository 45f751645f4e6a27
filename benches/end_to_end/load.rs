//! The message load: one thread that publishes, receives, checks and counts.
//!
//! One thread, because generator and broker share the machine: what the generator saves, the broker
//! can use. It reads large, writes a publisher's whole refill with one call, and never asks the
//! clock per message unless the row wants latencies.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::calls;
use crate::job::{Job, Latency, Messages, Outcome, Pace, Shape};
use crate::link::{Link, Opener};
use crate::pacer::{Pacer, Running};
use crate::plan::{self, Plan};
use crate::process::Sample;
use crate::wire::{self, Arrival, Frame, Stamp};

const READ_BYTES: usize = 256 * 1024;
const TURN: Duration = Duration::from_millis(5);
/// Nothing arriving for so long, with messages outstanding, is a loss.
const STALL: Duration = Duration::from_secs(5);

/// Runs the load of a job to its end.
pub(crate) fn run(job: &Job, load: &Messages) -> io::Result<Outcome> {
    let plan = Plan::new(load);
    let opener = Opener::new(job)?;
    let (mut generator, pacer) = Generator::connect(plan, load, &opener)?;
    let pacer = pacer.map(Pacer::start);
    generator.kick_off();

    let begin = Instant::now();
    let warm = begin + Duration::from_millis(job.warm_up_ms);
    generator.run_until(warm)?;
    let before = Reading::now(job, &generator)?;
    generator.run_until(warm + Duration::from_millis(job.measure_ms))?;
    let after = Reading::now(job, &generator)?;
    let syscalls_each = if job.syscalls {
        let watched = Duration::from_millis(job.measure_ms.min(1_000));
        calls::for_each(job.broker_pid, || {
            let before = generator.delivered;
            generator.run_until(Instant::now() + watched)?;
            Ok(generator.delivered - before)
        })?
    } else {
        None
    };

    generator.sending = false;
    let paced_expected = pacer.map(Running::stop).transpose()?;
    let drained = generator.drain(paced_expected);
    let expected = paced_expected.unwrap_or_else(|| generator.expected());
    let void = match drained {
        Err(error) => Some(error.to_string()),
        Ok(()) if generator.delivered != expected => Some("messages were lost".to_owned()),
        Ok(()) => None,
    };
    let mut outcome = after.since(&before);
    outcome.void = void;
    outcome.delivered = generator.delivered;
    outcome.expected = expected;
    outcome.latency_us = generator.latency();
    outcome.syscalls_each = syscalls_each;
    Ok(outcome)
}

/// Counters at one edge of the measured window.
pub(crate) struct Reading {
    at: Instant,
    broker: Sample,
    generator: Sample,
    count: u64,
}

impl Reading {
    fn now(job: &Job, generator: &Generator) -> io::Result<Self> {
        Self::with_count(job.broker_pid, generator.delivered)
    }

    pub(crate) fn with_count(broker_pid: u32, count: u64) -> io::Result<Self> {
        Ok(Self {
            broker: Sample::of(broker_pid)?,
            generator: Sample::of(std::process::id())?,
            at: Instant::now(),
            count,
        })
    }

    pub(crate) fn since(&self, before: &Self) -> Outcome {
        let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
        let ticks = self.broker.ticks - before.broker.ticks;
        Outcome {
            counted: self.count - before.count,
            window_s: (self.at - before.at).as_secs_f64(),
            broker_cpu_s: seconds(self.broker.cpu_ns - before.broker.cpu_ns),
            // USER_HZ is 100 on every Linux this runs on.
            broker_ticks_cpu_s: Duration::from_millis(ticks * 10).as_secs_f64(),
            broker_context_switches: self.broker.context_switches - before.broker.context_switches,
            broker_rss_kib: self.broker.rss_kib,
            broker_peak_kib: self.broker.peak_kib,
            generator_cpu_s: seconds(self.generator.cpu_ns - before.generator.cpu_ns),
            ..Outcome::default()
        }
    }
}

struct Client {
    link: Link,
    /// The stream it publishes, if it does.
    stream: Option<usize>,
    /// The last sequence number seen of each stream, plus one; empty for a pure publisher.
    seen: Vec<u64>,
    dirty: bool,
}

/// A stream's messages on their way.
struct Flow {
    plan: plan::Stream,
    window: usize,
    sequence: u64,
    /// Sequence number of the first entry of `missing`.
    oldest: u64,
    /// Deliveries still to come of each message since `oldest`.
    missing: VecDeque<u16>,
    unacknowledged: usize,
    packet_id: u16,
    dirty: bool,
}

struct Generator {
    poll: Poll,
    clients: Vec<Client>,
    flows: Vec<Flow>,
    load: Messages,
    /// A pacer's streams send by the clock, so `Flow` does not follow them.
    paced: bool,
    sending: bool,
    timed: bool,
    epoch: Instant,
    delivered: u64,
    acknowledged: u64,
    progress: (u64, Instant),
    latencies_ns: Vec<u64>,
    dirty_clients: Vec<usize>,
    dirty_flows: Vec<usize>,
    cipher: Vec<u8>,
    plain: Vec<u8>,
}

impl Generator {
    fn connect(plan: Plan, load: &Messages, opener: &Opener) -> io::Result<(Self, Option<Pacer>)> {
        let poll = Poll::new()?;
        let order = plan.connect_order();
        let mut opened: Vec<_> = plan.clients.iter().map(|_| None).collect();
        for number in order {
            let filters = &plan.clients[number];
            let mut connection = if load.kept && !filters.is_empty() {
                opener.open_kept(number)?
            } else {
                opener.open(number)?
            };
            if !filters.is_empty() {
                connection.subscribe(filters, load.qos)?;
            }
            opened[number] = Some(connection);
        }
        let epoch = Instant::now();
        let window = match load.pace {
            Pace::Window(window) => window,
            Pace::PerSecond(_) => 0,
        };
        let mut pacer = match load.pace {
            Pace::PerSecond(rate) => Some(Pacer::new(rate, epoch)),
            Pace::Window(_) => None,
        };
        if let Some(pacer) = &mut pacer {
            for stream in &plan.streams {
                let connection = opened[stream.publisher].as_ref().expect("all were opened");
                pacer.add(connection.stream.try_clone()?, Arc::clone(&stream.topics));
            }
        }
        let mut clients = Vec::new();
        for (number, (connection, filters)) in opened.into_iter().zip(&plan.clients).enumerate() {
            let mut link = connection.expect("all were opened").into_link()?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut link.stream, Token(number), interest)?;
            let streams = if filters.is_empty() {
                0
            } else {
                plan.streams.len()
            };
            clients.push(Client {
                link,
                stream: None,
                seen: vec![0; streams],
                dirty: false,
            });
        }
        for (number, stream) in plan.streams.iter().enumerate() {
            clients[stream.publisher].stream = Some(number);
        }
        let flows = plan
            .streams
            .into_iter()
            .map(|plan| Flow::new(plan, window))
            .collect();
        let generator = Self {
            poll,
            clients,
            flows,
            load: *load,
            paced: pacer.is_some(),
            sending: true,
            timed: pacer.is_some() || matches!(load.shape, Shape::PingPong),
            epoch,
            delivered: 0,
            acknowledged: 0,
            progress: (0, Instant::now()),
            latencies_ns: Vec::new(),
            dirty_clients: Vec::new(),
            dirty_flows: Vec::new(),
            cipher: vec![0; READ_BYTES],
            plain: Vec::new(),
        };
        Ok((generator, pacer))
    }

    fn kick_off(&mut self) {
        let streams = match self.load.shape {
            Shape::PingPong => 1,
            _ => self.flows.len(),
        };
        (0..streams).for_each(|stream| self.touch_flow(stream));
    }

    fn run_until(&mut self, deadline: Instant) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while Instant::now() < deadline {
            self.turn(&mut events)?;
        }
        Ok(())
    }

    /// Waits for everything sent to arrive.
    fn drain(&mut self, paced_expected: Option<u64>) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let done = match paced_expected {
                Some(sent) => {
                    self.delivered >= sent && (self.load.qos == 0 || self.acknowledged >= sent)
                }
                None => self.flows.iter().all(|flow| flow.outstanding() == 0),
            };
            if done {
                return Ok(());
            }
            self.turn(&mut events)?;
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.refill();
        self.flush()?;
        self.poll
            .poll(events, Some(TURN))
            .or_else(|error| match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })?;
        for event in &*events {
            let Token(number) = event.token();
            if event.is_readable() {
                while self.receive(number)? || event.is_read_closed() {}
            }
            if event.is_writable() && !self.clients[number].dirty {
                self.clients[number].link.flush()?;
            }
        }
        let now = Instant::now();
        let activity = self.delivered + self.acknowledged;
        if activity != self.progress.0 {
            self.progress = (activity, now);
        } else if now - self.progress.1 > STALL {
            return Err(io::Error::other(
                "messages were lost: nothing arrived for five seconds",
            ));
        }
        Ok(())
    }

    /// Reads one batch; true when the socket may hold more.
    fn receive(&mut self, number: usize) -> io::Result<bool> {
        let mut plain = std::mem::take(&mut self.plain);
        let more = self.clients[number]
            .link
            .read(&mut self.cipher, &mut plain)?;
        let now_ns = if self.timed {
            elapsed_ns(self.epoch)
        } else {
            0
        };
        let mut rest = plain.as_slice();
        while let Some(frame) = Frame::split(rest)? {
            self.packet(number, &frame, now_ns)?;
            rest = &rest[frame.whole_bytes..];
        }
        self.clients[number].link.keep(rest);
        self.plain = plain;
        Ok(more)
    }

    fn packet(&mut self, number: usize, frame: &Frame<'_>, now_ns: u64) -> io::Result<()> {
        let mut packet_id = frame.body.first_chunk().copied().unwrap_or_default();
        let answer = match frame.kind() {
            wire::PUBLISH => {
                let arrival = Arrival::parse(frame.first_byte, frame.body);
                let arrival = arrival.ok_or_else(|| io::Error::other("a PUBLISH of nobody"))?;
                self.arrived(number, &arrival.stamp, now_ns)?;
                packet_id = arrival.packet_id;
                match arrival.qos {
                    0 => return Ok(()),
                    1 => wire::PUBACK,
                    _ => wire::PUBREC,
                }
            }
            wire::PUBREC => wire::PUBREL,
            wire::PUBREL => wire::PUBCOMP,
            wire::PUBACK | wire::PUBCOMP => {
                self.acknowledged += 1;
                if let (Some(stream), false) = (self.clients[number].stream, self.paced) {
                    self.flows[stream].unacknowledged -= 1;
                    self.touch_flow(stream);
                }
                return Ok(());
            }
            other => return Err(io::Error::other(format!("unexpected packet type {other}"))),
        };
        wire::push_ack(&mut self.clients[number].link.out, answer, packet_id);
        self.touch_client(number);
        Ok(())
    }

    /// Checks that a message is due here, in order, and counts it.
    fn arrived(&mut self, number: usize, stamp: &Stamp, now_ns: u64) -> io::Result<()> {
        let stream = stamp.stream as usize;
        let Some(seen) = self.clients[number].seen.get_mut(stream) else {
            return Err(io::Error::other("a message for somebody else"));
        };
        if stamp.sequence < *seen {
            return Err(io::Error::other("a message twice, or out of order"));
        }
        if self.paced && stamp.sequence != *seen {
            return Err(io::Error::other(
                "messages were lost: a gap in the sequence",
            ));
        }
        *seen = stamp.sequence + 1;
        self.delivered += 1;
        if self.timed {
            self.latencies_ns.push(now_ns.saturating_sub(stamp.sent_ns));
        }
        if self.paced {
            return Ok(());
        }
        let flow = &mut self.flows[stream];
        if !flow.arrived(stamp.sequence) {
            return Err(io::Error::other(
                "a message more often than it has receivers",
            ));
        }
        let answered_by = flow.plan.answered_by;
        self.touch_flow(answered_by);
        Ok(())
    }

    fn touch_client(&mut self, number: usize) {
        if !self.clients[number].dirty {
            self.clients[number].dirty = true;
            self.dirty_clients.push(number);
        }
    }

    fn touch_flow(&mut self, stream: usize) {
        if !self.flows[stream].dirty && !self.paced {
            self.flows[stream].dirty = true;
            self.dirty_flows.push(stream);
        }
    }

    /// Fills the windows of the streams that something arrived for.
    fn refill(&mut self) {
        let sent_ns = if self.timed {
            elapsed_ns(self.epoch)
        } else {
            0
        };
        while let Some(stream) = self.dirty_flows.pop() {
            let flow = &mut self.flows[stream];
            flow.dirty = false;
            let room = flow.window - flow.outstanding().min(flow.window);
            // Half a window at a time: a message for each delivery would be a write for each.
            if !self.sending || room == 0 || room * 2 < flow.window {
                continue;
            }
            let publisher = flow.plan.publisher;
            let out = &mut self.clients[publisher].link.out;
            (0..room).for_each(|_| flow.publish(stream, self.load.qos, sent_ns, out));
            self.touch_client(publisher);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(number) = self.dirty_clients.pop() {
            self.clients[number].dirty = false;
            self.clients[number].link.flush()?;
        }
        Ok(())
    }

    /// Deliveries that all messages sent so far should give.
    fn expected(&self) -> u64 {
        let missing = |flow: &Flow| {
            flow.missing
                .iter()
                .map(|left| u64::from(*left))
                .sum::<u64>()
        };
        self.delivered + self.flows.iter().map(missing).sum::<u64>()
    }

    fn latency(&mut self) -> Option<Latency> {
        self.latencies_ns.sort_unstable();
        let last = self.latencies_ns.len().checked_sub(1)?;
        let at = |percent: usize| self.latencies_ns[last * percent / 100] as f64 / 1000.0;
        Some(Latency {
            p50: at(50),
            p99: at(99),
            max: at(100),
        })
    }
}

impl Flow {
    fn new(plan: plan::Stream, window: usize) -> Self {
        Self {
            plan,
            window,
            sequence: 0,
            oldest: 0,
            missing: VecDeque::new(),
            unacknowledged: 0,
            packet_id: 0,
            dirty: false,
        }
    }

    fn outstanding(&self) -> usize {
        self.missing.len().max(self.unacknowledged)
    }

    fn publish(&mut self, stream: usize, qos: u8, sent_ns: u64, out: &mut Vec<u8>) {
        let topics = &self.plan.topics;
        // A stride with no factor in common with the number of topics visits all of them.
        let step = usize::try_from(self.sequence).expect("64-bit machine") * 7919;
        let topic = &topics[(self.plan.first_topic + step) % topics.len()];
        if qos > 0 {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            self.unacknowledged += 1;
        }
        let stream = u32::try_from(stream).expect("few streams");
        let stamp = Stamp {
            stream,
            sequence: self.sequence,
            sent_ns,
        };
        topic.packet.append(out, self.packet_id, &stamp);
        self.missing.push_back(topic.receivers);
        self.sequence += 1;
        self.forget_arrived();
    }

    /// False when that message was not to arrive any more.
    fn arrived(&mut self, sequence: u64) -> bool {
        let index = sequence
            .checked_sub(self.oldest)
            .and_then(|index| usize::try_from(index).ok());
        let left = index.and_then(|index| self.missing.get_mut(index));
        let Some(left) = left.filter(|left| **left > 0) else {
            return false;
        };
        *left -= 1;
        self.forget_arrived();
        true
    }

    fn forget_arrived(&mut self) {
        while self.missing.front() == Some(&0) {
            self.missing.pop_front();
            self.oldest += 1;
        }
    }
}

fn elapsed_ns(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).expect("runs are shorter than 500 years")
}
