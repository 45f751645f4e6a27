//! Publishing by the clock: a thread that sends one message at a time, each at its own moment.
//!
//! Messages that leave together would be read together, and the paced rows are there to show what a
//! message costs that travels alone.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::plan::Topic;
use crate::wire::Stamp;

pub(crate) struct Pacer {
    interval: Duration,
    epoch: Instant,
    publishers: Vec<(TcpStream, Arc<Vec<Topic>>)>,
}

pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Pacer {
    pub(crate) fn new(per_second: u32, epoch: Instant) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second,
            epoch,

            publishers: Vec::new(),
        }
    }

    /// Streams are numbered in the order they are added.
    pub(crate) fn add(&mut self, connection: TcpStream, topics: Arc<Vec<Topic>>) {
        self.publishers.push((connection, topics));
    }

    pub(crate) fn start(self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Running {
            stop,
            thread: thread::spawn(move || self.send_until(&seen)),
        }
    }

    fn send_until(self, stop: &AtomicBool) -> io::Result<u64> {
        // The default slack of 50 us is as long as the pause between two messages.
        nix::sys::prctl::set_timerslack(1)?;
        let mut sent = 0_u64;
        let mut due = Instant::now();
        let mut packet = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if due > now {
                thread::sleep(due - now);
                continue;
            }
            let count = self.publishers.len() as u64;
            let (round, number) = (sent / count, sent % count);
            let (connection, topics) = &self.publishers[number as usize];
            let stamp = Stamp {
                stream: number as u32,
                sequence: round,
                sent_ns: (now - self.epoch).as_nanos() as u64,
            };
            // Identifiers go round after 65,535 messages of a publisher, longer than any run.
            let packet_id = (round % 65_535 + 1) as u16;
            packet.clear();
            topics[0].packet.append(&mut packet, packet_id, &stamp);
            // The socket does not block; a paced message that does not fit is a broker that stands.
            (&*connection).write_all(&packet)?;
            sent += 1;
            due += self.interval;
        }
        Ok(sent)
    }
}

impl Running {
    /// Stops sending; how many messages were sent.
    pub(crate) fn stop(self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the pacer does not panic")
    }
}
