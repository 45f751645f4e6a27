//! Message and byte counters, one set for each core, so that counting shares no cache line.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($field:ident: $doc:literal;)*) => {
        /// What a connection did since it last told: added to its core's counters in one go.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TrafficDelta {
            /// PUBLISH packets received, by QoS.
            pub received: [u64; 3],
            /// PUBLISH packets sent, by QoS.
            pub sent: [u64; 3],
            $(#[doc = $doc] pub $field: u64,)*
        }

        #[derive(Debug, Default)]
        #[repr(align(128))]
        struct Core {
            received: [AtomicU64; 3],
            sent: [AtomicU64; 3],
            $($field: AtomicU64,)*
        }

        impl Core {
            fn add(&self, delta: &TrafficDelta) {
                for (counters, values) in [(&self.received, delta.received), (&self.sent, delta.sent)] {
                    for (counter, value) in counters.iter().zip(values) {
                        bump(counter, value);
                    }
                }
                $(bump(&self.$field, delta.$field);)*
            }

            fn add_to(&self, total: &mut TrafficDelta) {
                for (counters, values) in [(&self.received, &mut total.received), (&self.sent, &mut total.sent)] {
                    for (counter, value) in counters.iter().zip(values) {
                        *value += counter.load(Ordering::Relaxed);
                    }
                }
                $(total.$field += self.$field.load(Ordering::Relaxed);)*
            }
        }
    };
}

counters! {
    bytes_received: "Bytes received after decryption, those of WebSocket frames included.";
    bytes_sent: "Bytes of packets sent, before encryption.";
    dropped_queue_full: "Deliveries dropped because a receiver's queue was full.";
    dropped_expired: "Deliveries dropped because the message had expired.";
    dropped_too_large: "Deliveries dropped because the receiver takes no packets so large.";
    dropped_denied: "Queued deliveries dropped because the right to them was taken away.";
}

fn bump(counter: &AtomicU64, value: u64) {
    // Most of a delta is zero, and a read-modify-write of zero is not free.
    if value != 0 {
        counter.fetch_add(value, Ordering::Relaxed);
    }
}

/// The counters of all cores.
#[derive(Debug)]
pub struct Traffic {
    cores: Box<[Core]>,
}

impl Traffic {
    /// For so many cores.
    pub fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores.max(1)).map(|_| Core::default()).collect(),
        }
    }

    /// Adds what a connection on `core` did.
    #[inline]
    pub fn add(&self, core: usize, delta: &TrafficDelta) {
        if let Some(core) = self.cores.get(core).or_else(|| self.cores.first()) {
            core.add(delta);
        }
    }

    /// The sum over all cores.
    pub fn total(&self) -> TrafficDelta {
        let mut total = TrafficDelta::default();
        for core in &self.cores {
            core.add_to(&mut total);
        }
        total
    }
}
