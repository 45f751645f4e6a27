//! Who is there: publishers, those who are connected and those who are mostly not, a group, some who
//! change their minds, and those who leave a will.

use std::collections::VecDeque;

use mio::{Registry, Token};

use super::client::Client;
use super::ledger::{Due, Ledger, Purpose, WILLS};
use crate::hostile::Random;
use crate::support::raw::Will;

const DYNAMIC: usize = 6;
const DATA: &[&str] = &["k/+/data/#", "k/will/#"];
const GROUP: &[&str] = &["$share/group/k/+/shared/#"];
/// What a message that may expire is given.
const EXPIRY_S: u32 = 3_600;

pub(super) enum Part {
    Publisher {
        author: usize,
        name: String,
    },
    /// Publishes what asks whether subscriptions hold.
    Prober {
        author: usize,
        open: VecDeque<String>,
    },
    /// Connected but for moments.
    Steady,
    /// There in some rounds, and then not for long.
    Rare,
    /// Never there before the end.
    Absent,
    /// Subscribes and unsubscribes.
    Fickle,
    /// Leaves a will, or ends with its connection; comes once.
    Once,
    /// Its will waits for so long that it always comes back before.
    Returning,
}

pub(super) struct Actor {
    pub(super) client: Client,
    pub(super) part: Part,
    /// It stays away until so much has happened in the round.
    pub(super) away_until: usize,
    /// It answers after a while and not at once.
    slow: bool,
}

/// What the clients may do in this turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Everything.
    Load,
    /// Everybody comes back and completes what has begun.
    Drain,
}

impl Actor {
    pub(super) fn new(client: Client, part: Part, slow: bool) -> Self {
        Self {
            client,
            part,
            away_until: 0,
            slow,
        }
    }

    /// A round begins.
    pub(super) fn begin(&mut self, random: &mut Random) {
        if matches!(self.part, Part::Absent) {
            self.client.vanish();
        }
        self.away_until = match &mut self.part {
            Part::Rare if random.below(3) > 0 => usize::MAX,
            Part::Rare => random.below(1_500),
            Part::Absent | Part::Once => usize::MAX,
            Part::Prober { open, .. } => {
                *open = probes();
                0
            }
            _ => 0,
        };
    }

    /// What it has begun and is not at its end; those who come once leave everything open.
    pub(super) fn open(&self) -> Option<String> {
        let stays = !matches!(self.part, Part::Once);
        stays.then(|| self.client.open()).flatten()
    }

    pub(super) fn turn(&mut self, stage: &mut Stage<'_>, token: Token) {
        if stage.mood == Mood::Drain && !matches!(self.part, Part::Once) {
            self.away_until = 0;
        }
        if !self.client.is_there() {
            if self.away_until <= stage.progress {
                self.client.connect(stage.port, stage.registry, token);
                self.client.write();
            }
            return;
        }
        if self.client.is_up() {
            self.act(stage);
            if self.slow && stage.mood == Mood::Load {
                let most = stage.random.below(4);
                self.client.answer(most);
            } else {
                self.client.answer(usize::MAX);
            }
        }
        self.client.write();
    }

    fn act(&mut self, stage: &mut Stage<'_>) {
        let load = stage.mood == Mood::Load;
        match &mut self.part {
            Part::Publisher { author, name } => {
                if load && stage.random.below(2_000) == 0 {
                    return self.client.vanish();
                }
                while load && self.client.has_room() {
                    publish_something(&mut self.client, *author, name, stage);
                }
            }
            Part::Prober { author, open } => {
                while self.client.has_room() {
                    let Some(topic) = open.pop_front() else {
                        break;
                    };
                    let qos = if topic.ends_with(['0', '2', '4']) {
                        2
                    } else {
                        1
                    };
                    let purpose = Purpose::Probe;
                    let number = stage.ledger.sent(*author, &topic, qos, None, purpose);
                    self.client.publish(number, false, false, stage.ledger);
                }
            }
            Part::Steady if load && stage.random.below(400) == 0 => self.leave(stage),
            Part::Rare if load && stage.random.below(300) == 0 => {
                self.leave(stage);
                self.away_until = usize::MAX;
            }
            Part::Fickle if load => self.change_mind(stage),
            Part::Once if load && stage.random.below(600) == 0 => {
                self.client.vanish();
                self.away_until = usize::MAX;
            }
            _ => {}
        }
    }

    fn leave(&mut self, stage: &mut Stage<'_>) {
        self.client.vanish();
        self.away_until = stage.progress + stage.random.below(200);
    }

    fn change_mind(&mut self, stage: &mut Stage<'_>) {
        match stage.random.below(1_000) {
            0 => self.client.begin_anew(),
            1..4 => self.leave(stage),
            4..60 => {
                let nth = stage.random.below(DYNAMIC);
                let filter = dynamic(nth);
                match self.client.holds(&filter) {
                    Some(true) => self.client.unsubscribe(&filter, stage.ledger),
                    Some(false) => self.client.subscribe(&filter, 2, stage.ledger),
                    None => {}
                }
            }
            _ => {}
        }
    }
}

/// What a turn needs of everything else.
pub(super) struct Stage<'a> {
    pub(super) port: u16,
    pub(super) registry: &'a Registry,
    pub(super) random: &'a mut Random,
    pub(super) ledger: &'a mut Ledger,
    pub(super) progress: usize,
    pub(super) mood: Mood,
}

fn dynamic(nth: usize) -> String {
    format!("k/+/dyn/{nth}")
}

fn probes() -> VecDeque<String> {
    let fixed = ["data/1", "data/2", "shared/1", "shared/2"];
    let fixed = fixed.map(|end| format!("k/probe/{end}"));
    let dynamic = (0..DYNAMIC).map(|nth| format!("k/probe/dyn/{nth}"));
    fixed.into_iter().chain(dynamic).collect()
}

/// Every topic has one publisher and one QoS, so its messages have one order.
fn publish_something(client: &mut Client, author: usize, name: &str, stage: &mut Stage<'_>) {
    let random = &mut *stage.random;
    let qos = u8::try_from(1 + random.below(2)).expect("1 or 2");
    let kind = random.below(20);
    let topic = match kind {
        0..10 => format!("k/{name}/data/{qos}/{}", random.below(3)),
        10..14 => format!("k/{name}/shared/{qos}"),
        14..17 => format!("k/{name}/ret/{qos}/{}", random.below(3)),
        _ => {
            let nth = random.below(DYNAMIC / 2) * 2 + usize::from(qos == 1);
            format!("k/{name}/dyn/{nth}")
        }
    };
    let retain = (14..17).contains(&kind);
    let empty = retain && random.below(8) == 0;
    let expiry_s = (client.hello.version == 5 && topic.ends_with("/0")).then_some(EXPIRY_S);
    let ledger = &mut *stage.ledger;
    let number = ledger.sent(author, &topic, qos, expiry_s, Purpose::Ordinary);
    if retain {
        ledger.retained.sent(&topic, number, empty);
    }
    client.publish(number, retain, empty, ledger);
}

/// Those who are there from the first round to the last.
pub(super) fn company(ledger: &mut Ledger) -> Vec<Actor> {
    let mut actors = Vec::new();
    for (index, version) in [5, 4, 5, 4].into_iter().enumerate() {
        let name = format!("p{index}");
        let author = ledger.author(&name);
        let member = ledger.member(&name);
        let client = Client::new(version, &name, 0, member);
        actors.push(Actor::new(client, Part::Publisher { author, name }, false));
    }
    let author = ledger.author("probe");
    let member = ledger.member("probe");
    let open = VecDeque::new();
    let client = Client::new(5, "probe", 0, member);
    actors.push(Actor::new(client, Part::Prober { author, open }, false));
    for taker in &TAKERS {
        let member = ledger.member(taker.name);
        let mut client = Client::new(taker.version, taker.name, taker.receive_maximum, member);
        for filter in taker.filters {
            client.subscribe(filter, taker.qos, ledger);
        }
        actors.push(Actor::new(client, (taker.part)(), taker.slow));
    }
    let number = ledger.sent(WILLS, "k/will/returning", 2, None, Purpose::Will(Due::No));
    let member = ledger.member("returning");
    let mut client = Client::new(5, "returning", 0, member);
    client.will = Some((number, Due::No));
    client.hello.will = Some(Will {
        qos: 2,
        properties: vec![0x18, 0, 0, 2, 0x58],
        ..Will::new("k/will/returning", &number.payload())
    });
    actors.push(Actor::new(client, Part::Returning, false));
    actors
}

/// Those who come in this round only, and each leaves a will: at once, or after a second.
pub(super) fn mortals(ledger: &mut Ledger, member: usize, round: usize) -> [Actor; 2] {
    [(4, 2), (5, 1)].map(|(version, qos)| {
        let topic = format!("k/will/{qos}/{round}");
        let number = ledger.sent(WILLS, &topic, qos, None, Purpose::Will(Due::Perhaps));
        let mut client = Client::new(version, &format!("mortal-{version}-{round}"), 0, member);
        client.hello.clean = version == 4;
        client.will = Some((number, Due::Yes));
        let delay = if version == 5 {
            vec![0x18, 0, 0, 0, 1]
        } else {
            vec![]
        };
        client.hello.will = Some(Will {
            qos,
            properties: delay,
            ..Will::new(&topic, &number.payload())
        });
        Actor::new(client, Part::Once, false)
    })
}

/// One of those who receive.
struct Taker {
    name: &'static str,
    version: u8,
    /// 0 tells none.
    receive_maximum: u8,
    part: fn() -> Part,
    filters: &'static [&'static str],
    qos: u8,
    slow: bool,
}

const fn taker(
    name: &'static str,
    version: u8,
    part: fn() -> Part,
    filters: &'static [&'static str],
) -> Taker {
    Taker {
        name,
        version,
        receive_maximum: 0,
        part,
        filters,
        qos: 2,
        slow: false,
    }
}

impl Taker {
    const fn at_qos_1(mut self) -> Self {
        self.qos = 1;
        self
    }

    /// Answers late, and takes so many at a time if it can say so.
    const fn slow(mut self, receive_maximum: u8) -> Self {
        self.slow = true;
        self.receive_maximum = receive_maximum;
        self
    }
}

const TAKERS: [Taker; 12] = [
    taker("steady-slow", 5, || Part::Steady, DATA).slow(7),
    taker("steady-quick", 4, || Part::Steady, DATA),
    taker("steady-one", 5, || Part::Steady, DATA)
        .slow(0)
        .at_qos_1(),
    taker("rare-new", 5, || Part::Rare, DATA).slow(15),
    taker("rare-old", 4, || Part::Rare, DATA),
    taker("absent-new", 5, || Part::Absent, DATA),
    taker("absent-old", 4, || Part::Absent, DATA).at_qos_1(),
    taker("member-slow", 5, || Part::Steady, GROUP).slow(9),
    taker("member-old", 4, || Part::Steady, GROUP),
    taker("member-rare", 5, || Part::Rare, GROUP),
    taker("fickle-new", 5, || Part::Fickle, &[]),
    taker("fickle-old", 4, || Part::Fickle, &[]).slow(0),
];
