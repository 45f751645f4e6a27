//! The rounds: start, load, kill; and in the end everybody comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::cast::{Actor, Mood, Part, Stage, company, mortals};
use super::client::Client;
use super::fault::{Fault, Faults};
use super::ledger::{Ledger, Number};
use super::process::{Contender, Process};
use crate::hostile::Random;
use crate::support::raw::{Hello, Raw, ack};
use crate::support::site::Site;

/// Longest load before a kill.
const LONGEST_MS: usize = 4_000;
/// Most packets that clients receive before a kill.
const MOST: usize = 60_000;
/// When nothing has come for so long, nothing will.
const QUIET: Duration = Duration::from_secs(5);
/// So many rounds those who are absent miss; what waits for them makes each start longer.
const DRAIN_EVERY: usize = 20;
/// How often the ledger is asked whether that is all.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// So long nothing comes to anybody before that.
const A_MOMENT: Duration = Duration::from_millis(30);
/// A session that ends after a second is gone by then.
const LONG_GONE: Duration = Duration::from_secs(10);

pub(super) struct Ended {
    pub(super) faults: Faults,
    pub(super) line: String,
}

struct Run<'a> {
    contender: Contender,
    site: &'a Site,
    random: Random,
    ledger: Ledger,
    actors: Vec<Actor>,
    poll: Poll,
    events: Events,
    progress: usize,
    /// The sessions of those who come once: nothing is owed to them.
    once: usize,
    /// Clients whose session ends after a second, and when they were last known.
    mayflies: Vec<(String, Instant)>,
    kills: usize,
    stops: usize,
}

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The broker is killed.
    Kill,
    /// Every connection breaks, and the broker goes on.
    Break,
}

pub(super) fn run(contender: Contender, end: End, rounds: usize, seed: u64) -> Ended {
    eprintln!("{contender:?}: {rounds} rounds with PORTCULLIS_KILL_SEED={seed}");
    let site = contender.site();
    let mut run = Run::new(contender, &site, seed);
    let mut process = contender.start(&site);
    run.until(Mood::Drain, Instant::now() + QUIET, |run| {
        run.actors.iter().all(|actor| actor.open().is_none())
    });
    for round in 0..rounds {
        run.ledger.round = round;
        run.load(round, &mut process);
        process = match end {
            End::Kill => {
                run.end(process);
                run.restart()
            }
            End::Break => {
                run.part();
                process
            }
        };
        run.look_at_retained();
        run.ledger.waiting();
        if round % DRAIN_EVERY == DRAIN_EVERY - 1 {
            run.drain();
            let (sent, faults) = (run.ledger.counts.sent, &run.ledger.faults);
            eprintln!("round {}: {sent} messages, {}", round + 1, faults.line());
        }
    }
    run.ledger.round = rounds;
    run.finish();
    assert!(process.is_running(), "it ended by itself");
    process.kill();
    run.ended()
}

impl<'a> Run<'a> {
    fn new(contender: Contender, site: &'a Site, seed: u64) -> Self {
        let mut ledger = Ledger::new();
        let once = ledger.member("those who come once");
        let actors = company(&mut ledger);
        Self {
            contender,
            site,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            ledger,
            actors,
            poll: Poll::new().expect("a poll"),
            events: Events::with_capacity(256),
            progress: 0,
            once,
            mayflies: Vec::new(),
            kills: 0,
            stops: 0,
        }
    }

    /// Lets everybody act until `enough`, or until so late.
    fn until(&mut self, mood: Mood, latest: Instant, mut enough: impl FnMut(&mut Self) -> bool) {
        while Instant::now() < latest && !enough(self) {
            self.turns(mood);
            let wait = Some(Duration::from_millis(1));
            self.poll.poll(&mut self.events, wait).expect("a poll");
            for index in 0..self.actors.len() {
                self.progress += self.actors[index].client.read(&mut self.ledger);
                // The broker is killed while some have not yet read what it sent.
                if enough(self) {
                    return;
                }
            }
        }
    }

    fn turns(&mut self, mood: Mood) {
        for (index, actor) in self.actors.iter_mut().enumerate() {
            let mut stage = Stage {
                port: self.site.plain,
                registry: self.poll.registry(),
                random: &mut self.random,
                ledger: &mut self.ledger,
                progress: self.progress,
                mood,
            };
            actor.turn(&mut stage, Token(index));
        }
    }

    fn load(&mut self, round: usize, process: &mut Process<'_>) {
        for actor in &mut self.actors {
            actor.begin(&mut self.random);
        }
        let more = mortals(&mut self.ledger, self.once, round);
        self.actors.extend(more);
        let mayfly = self.mayfly(round);
        self.actors.push(mayfly);
        self.progress = 0;
        let (wished, longest) = match self.random.below(3) {
            // In the middle of everybody's return.
            0 => (1 + self.random.below(600), LONGEST_MS),
            _ => (
                1 + self.random.below(MOST),
                1 + self.random.below(LONGEST_MS),
            ),
        };
        let longest = Duration::from_millis(u64::try_from(longest).expect("small"));
        let enough = |run: &mut Self| run.progress >= wished;
        self.until(Mood::Load, Instant::now() + longest, enough);
        assert!(process.is_running(), "it ended by itself");
    }

    /// Nearly always SIGKILL; an orderly end must not lose anything either.
    fn end(&mut self, process: Process<'_>) {
        if self.contender == Contender::Portcullis && self.random.below(6) == 0 {
            self.stops += 1;
            process.terminate();
            self.read_to_the_end();
            process.wait();
        } else {
            self.kills += 1;
            process.kill();
            self.read_to_the_end();
        }
    }

    fn mayfly(&mut self, round: usize) -> Actor {
        let name = format!("mayfly-{round}");
        let mut client = Client::new(5, &name, 0, self.once);
        client.hello.properties = vec![0x11, 0, 0, 0, 1];
        self.mayflies.push((name, Instant::now()));
        Actor::new(client, Part::Once, false)
    }

    /// What was sent before the end is read by everybody, and then they are alone.
    fn read_to_the_end(&mut self) {
        for actor in &mut self.actors {
            while actor.client.is_there() {
                actor.client.read(&mut self.ledger);
            }
        }
        self.part();
    }

    /// Nobody is connected any more, and who came for this round does not come back.
    fn part(&mut self) {
        for actor in &mut self.actors {
            actor.client.vanish();
            if matches!(actor.part, Part::Once) {
                actor.away_until = usize::MAX;
            }
        }
        if let Some((_, known)) = self.mayflies.last_mut() {
            *known = Instant::now();
        }
    }

    /// Starts it again; sometimes it is killed before it is ready.
    fn restart(&mut self) -> Process<'a> {
        while self.random.below(4) == 0 {
            let early = self.contender.begin(self.site);
            let soon = u64::try_from(self.random.below(60)).expect("small");
            // Not to wait for anything, but to come at any time.
            std::thread::sleep(Duration::from_millis(soon));
            early.kill();
            self.kills += 1;
        }
        let process = self.contender.start(self.site);
        if let Some((_, known)) = self.mayflies.last_mut() {
            *known = Instant::now();
        }
        process
    }

    /// Somebody new subscribes to what is retained. A marker, retained too and asked for last, says when
    /// all has come.
    fn look_at_retained(&mut self) {
        let floor = self.ledger.retained.floor();
        let marker = format!("marker {}", self.ledger.round);
        let (mut eye, _) = Raw::hello(self.site.plain, &Hello::nameless(4, "eye"));
        eye.publish_with("k/marker", &marker, 1, 1, true, &[]);
        assert_eq!(eye.receive(), ack_packet(0x40, 1));
        for (id, filter) in [(2, "k/+/ret/#"), (3, "k/marker")] {
            eye.send(&crate::support::raw::subscribe(4, id, &[(filter, 0)], &[]));
        }
        let mut seen = BTreeMap::new();
        loop {
            let packet = eye.receive();
            if packet.kind() != 3 {
                continue;
            }
            let received = packet.publish(4);
            if received.payload == marker {
                break;
            }
            if received.retain {
                seen.insert(received.topic, Number::of(&received.payload));
            }
        }
        eye.disconnect();
        for (topic, floor) in floor {
            let seen = seen.remove(&topic).flatten();
            if let Err((fault, told)) = self.ledger.retained.judge(&topic, floor, seen) {
                self.ledger.fault(fault, || told);
            }
        }
    }

    fn finish(&mut self) {
        self.drain();
        // Whatever waited in front of these has come when they have.
        for actor in &mut self.actors {
            if matches!(actor.part, Part::Prober { .. }) {
                actor.begin(&mut self.random);
            }
        }
        self.drain();
        self.ledger.close();
        for open in self.actors.iter().filter_map(Actor::open) {
            self.ledger.fault(Fault::Unfinished, || open);
        }
        self.look_at_retained();
        for (name, known) in std::mem::take(&mut self.mayflies) {
            if known.elapsed() > LONG_GONE {
                let hello = Hello::nameless(5, &name).kept();
                let (raw, present) = Raw::hello(self.site.plain, &hello);
                raw.disconnect();
                if present {
                    self.ledger.fault(Fault::SessionOutlived, || name);
                }
            }
        }
        for actor in &mut self.actors {
            actor.client.say_goodbye();
        }
    }

    /// Everybody comes back and takes what is theirs. If that does not come although they are there, they
    /// come once more.
    fn drain(&mut self) {
        if self.is_drained() {
            return;
        }
        let awaited = self.ledger.awaited();
        let open = self.actors.iter().filter_map(Actor::open);
        let open: Vec<_> = open.collect();
        self.ledger.fault(Fault::Stalled, || {
            format!("awaited {awaited}; open {}", open.join("; "))
        });
        self.part();
        self.is_drained();
    }

    fn is_drained(&mut self) -> bool {
        let mut last = (self.progress, Instant::now());
        let mut looked: Option<Instant> = None;
        let mut drained = false;
        let forever = Instant::now() + Duration::from_secs(3_600);
        self.until(Mood::Drain, forever, |run| {
            if run.progress != last.0 {
                last = (run.progress, Instant::now());
            }
            if last.1.elapsed() > QUIET {
                return true;
            }
            // It takes a while to count, and nobody reads meanwhile: not while something comes.
            let counts = last.1.elapsed() > A_MOMENT;
            if counts && looked.is_none_or(|at| at.elapsed() > LOOK_EVERY) {
                let begun = Instant::now();
                drained = run.actors.iter().all(|actor| actor.open().is_none())
                    && run.ledger.waiting() == 0;
                let counted = Instant::now();
                last.1 += counted - begun;
                looked = Some(counted);
            }
            drained
        });
        drained
    }

    fn ended(self) -> Ended {
        let counts = &self.ledger.counts;
        let line = format!(
            "{:?}: {} kills and {} stops, {} messages, acknowledged {} at QoS 1 and {} at QoS 2, {} deliveries ({} repeated at \
             QoS 1), {} sessions resumed: {}",
            self.contender,
            self.kills,
            self.stops,
            counts.sent,
            counts.acknowledged[1],
            counts.acknowledged[2],
            counts.delivered,
            counts.repeated,
            counts.resumed,
            self.ledger.faults.line()
        );
        eprintln!("{line}");
        if self.ledger.faults.total() > 0 {
            let kept = concat!(env!("CARGO_TARGET_TMPDIR"), "/kills");
            drop(std::fs::remove_dir_all(kept));
            copy(self.site.dir(), kept.as_ref());
            eprintln!(
                "{}what the broker left is in {kept}",
                self.ledger.faults.examples()
            );
        }
        Ended {
            faults: self.ledger.faults,
            line,
        }
    }
}

fn ack_packet(first: u8, id: u16) -> crate::support::raw::Packet {
    let mut bytes = ack(first, id);
    crate::support::raw::Packet::take(&mut bytes).expect("a whole packet")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a file");
        }
    }
}
