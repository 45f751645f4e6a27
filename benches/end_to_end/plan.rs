//! Who subscribes to what and who publishes what, for each shape of load.

use std::sync::Arc;

use crate::job::{Messages, Shape};
use crate::wire::PublishTemplate;

/// Topic levels under the first one, and values of each: 10,000 topics.
const LEVELS: usize = 4;
const VALUES: usize = 10;
const FILTERS_PER_SUBSCRIBER: usize = 50;

pub(crate) struct Plan {
    /// The filters of each client; publishers have none.
    pub(crate) clients: Vec<Vec<String>>,
    pub(crate) streams: Vec<Stream>,
}

/// The messages of one publisher.
pub(crate) struct Stream {
    pub(crate) publisher: usize,
    pub(crate) topics: Arc<Vec<Topic>>,
    /// Where in `topics` it begins; it then goes round in steps that visit all of them.
    pub(crate) first_topic: usize,
    /// The stream that may send when a message of this one has arrived: itself, save in ping-pong.
    pub(crate) answered_by: usize,
}

pub(crate) struct Topic {
    pub(crate) packet: PublishTemplate,
    /// How many clients must receive it.
    pub(crate) receivers: u16,
}

impl Plan {
    pub(crate) fn new(load: &Messages) -> Self {
        let topic = |name: &str, receivers: usize| Topic {
            packet: PublishTemplate::new(name, load.qos, load.payload_bytes),
            receivers: u16::try_from(receivers).expect("fewer than 65,536 subscribers"),
        };
        let mut plan = Self {
            clients: Vec::new(),
            streams: Vec::new(),
        };
        match load.shape {
            Shape::Pairs(pairs) => {
                plan.clients
                    .extend((0..pairs).map(|pair| vec![format!("pairs/{pair}")]));
                for pair in 0..pairs {
                    plan.publish(vec![topic(&format!("pairs/{pair}"), 1)]);
                }
            }
            Shape::FanIn { publishers } => {
                plan.clients.push(vec!["fan/in".to_owned()]);
                (0..publishers).for_each(|_| plan.publish(vec![topic("fan/in", 1)]));
            }
            Shape::FanOut { subscribers } => {
                plan.clients
                    .extend((0..subscribers).map(|_| vec!["fan/out".to_owned()]));
                plan.publish(vec![topic("fan/out", subscribers)]);
            }
            Shape::PingPong => {
                plan.clients = vec![vec!["game/pong".to_owned()], vec!["game/ping".to_owned()]];
                for (player, name) in ["game/ping", "game/pong"].into_iter().enumerate() {
                    plan.streams.push(Stream {
                        publisher: player,
                        topics: Arc::new(vec![topic(name, 1)]),
                        first_topic: 0,
                        answered_by: 1 - player,
                    });
                }
            }
            Shape::Wildcards {
                subscribers,
                publishers,
            } => {
                let mut receivers = vec![0; VALUES.pow(LEVELS as u32)];
                let random = &mut Random(1);
                for subscriber in 0..subscribers {
                    plan.clients
                        .push(wildcard_filters(subscriber, random, &mut receivers));
                }
                let topics = receivers.iter().enumerate();
                let topics = topics.map(|(number, count)| topic(&wildcard_topic(number), *count));
                let topics = Arc::new(topics.collect::<Vec<_>>());
                for publisher in 0..publishers {
                    plan.publish_from(Arc::clone(&topics), publisher * topics.len() / publishers);
                }
            }
        }
        plan
    }

    /// Clients in an order that gives no broker its pairs side by side.
    pub(crate) fn connect_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        let mut random = Random(2);
        for left in (1..order.len()).rev() {
            order.swap(left, random.below(left + 1));
        }
        order
    }

    fn publish(&mut self, topics: Vec<Topic>) {
        self.publish_from(Arc::new(topics), 0);
    }

    fn publish_from(&mut self, topics: Arc<Vec<Topic>>, first_topic: usize) {
        let publisher = self.clients.len();
        let answered_by = self.streams.len();
        self.clients.push(Vec::new());
        self.streams.push(Stream {
            publisher,
            topics,
            first_topic,
            answered_by,
        });
    }
}

fn digits(number: usize) -> [usize; LEVELS] {
    [
        number / 1000,
        number / 100 % 10,
        number / 10 % 10,
        number % 10,
    ]
}

fn wildcard_topic(number: usize) -> String {
    let [area, line, machine, sensor] = digits(number);
    format!("plant/area{area}/line{line}/machine{machine}/sensor{sensor}")
}

/// Filters with one wildcard each. All of a subscriber have it at the same level, so no two match
/// the same topic: MQTT leaves open whether overlapping filters deliver once or twice.
fn wildcard_filters(
    subscriber: usize,
    random: &mut Random,
    receivers: &mut [usize],
) -> Vec<String> {
    let wildcard_at = subscriber % LEVELS;
    let hash = wildcard_at == LEVELS - 1 && (subscriber / LEVELS).is_multiple_of(2);
    let step = VALUES.pow((LEVELS - 1 - wildcard_at) as u32);
    let mut chosen = Vec::new();
    while chosen.len() < FILTERS_PER_SUBSCRIBER {
        let number = random.below(receivers.len());
        // The topic with value 0 at the wildcard's level stands for the filter.
        let lowest = number - digits(number)[wildcard_at] * step;
        if !chosen.contains(&lowest) {
            chosen.push(lowest);
        }
    }
    let filter = |lowest: &usize| {
        for value in 0..VALUES {
            receivers[lowest + value * step] += 1;
        }
        let topic = wildcard_topic(*lowest);
        let mut levels: Vec<&str> = topic.split('/').collect();
        levels[1 + wildcard_at] = if hash { "#" } else { "+" };
        levels.join("/")
    };
    chosen.iter().map(filter).collect()
}

/// A fixed sequence: each run loads each broker alike.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
