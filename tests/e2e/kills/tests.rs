//! That the ledger sees each fault, and none where there is none.

use super::fault::Fault;
use super::ledger::{Due, Ledger, Number, Purpose};
use crate::support::raw::Received;

const FILTER: &str = "k/+/data/#";
const TOPIC: &str = "k/p/data/1";

/// One author and one session that is subscribed at QoS 2.
struct Story {
    ledger: Ledger,
    author: usize,
    member: usize,
}

impl Story {
    fn new() -> Self {
        let mut ledger = Ledger::new();
        let author = ledger.author("p");
        let member = ledger.member("s");
        let mut story = Self {
            ledger,
            author,
            member,
        };
        story.subscribe(member, FILTER);
        story
    }

    fn subscribe(&mut self, member: usize, filter: &str) {
        self.ledger.asked(member, filter, 2, Some(1));
        self.ledger.subscribed(member, filter);
    }

    fn sent(&mut self, topic: &str, qos: u8) -> Number {
        let (author, purpose) = (self.author, Purpose::Ordinary);
        self.ledger.sent(author, topic, qos, None, purpose)
    }

    fn acknowledged(&mut self, topic: &str, qos: u8) -> Number {
        let number = self.sent(topic, qos);
        self.ledger.promised(number);
        self.ledger.done(number);
        number
    }

    fn received(&self, number: Number) -> Received {
        let (topic, qos, _) = self.ledger.topic_of(number);
        Received {
            topic: topic.to_owned(),
            payload: number.payload(),
            qos,
            retain: false,
            dup: false,
            id: Some(1),
            properties: vec![0x0B, 1],
        }
    }

    fn comes_to(&mut self, member: usize, number: Number) {
        let received = self.received(number);
        self.ledger.delivered(member, &received);
    }

    fn comes(&mut self, number: Number) {
        self.comes_to(self.member, number);
    }

    /// The end: the faults, which are these and no others.
    fn ends_with(mut self, faults: &[(Fault, u64)]) {
        self.ledger.close();
        let line = self.ledger.faults.line();
        for &(fault, number) in faults {
            assert_eq!(self.ledger.faults.number(fault), number, "{line}");
        }
        let all: u64 = faults.iter().map(|&(_, number)| number).sum();
        assert_eq!(self.ledger.faults.total(), all, "{line}");
    }
}

#[test]
fn what_was_acknowledged_and_came_is_no_fault() {
    let mut story = Story::new();
    for qos in [1, 2] {
        let number = story.acknowledged(&format!("{TOPIC}/{qos}"), qos);
        assert_eq!(story.ledger.waiting(), 1);
        story.comes(number);
        assert_eq!(story.ledger.waiting(), 0);
    }
    story.ends_with(&[]);
}

#[test]
fn what_was_acknowledged_and_never_came_is_lost() {
    let mut story = Story::new();
    story.acknowledged(TOPIC, 1);
    // PUBREC is the promise, whatever becomes of the rest.
    let number = story.sent("k/p/data/2", 2);
    story.ledger.promised(number);
    story.ledger.abandoned(number);
    story.ends_with(&[(Fault::Lost1, 1), (Fault::Lost2, 1)]);
}

#[test]
fn what_was_not_acknowledged_may_be_lost_with_the_session_of_its_publisher() {
    let mut story = Story::new();
    let number = story.sent(TOPIC, 2);
    story.ledger.abandoned(number);
    story.ends_with(&[]);
}

#[test]
fn an_exchange_that_does_not_end_is_a_fault() {
    let mut story = Story::new();
    let number = story.sent(TOPIC, 2);
    story.comes(number);
    story.ends_with(&[(Fault::Unfinished, 1)]);
}

#[test]
fn a_second_delivery_is_a_fault_at_qos_2_only() {
    let mut story = Story::new();
    for (qos, topic) in [(1, "k/p/data/1"), (2, "k/p/data/2")] {
        let number = story.acknowledged(topic, qos);
        story.comes(number);
        story.comes(number);
    }
    assert_eq!(story.ledger.counts.repeated, 1);
    story.ends_with(&[(Fault::Twice, 1)]);
}

#[test]
fn only_first_deliveries_have_an_order() {
    let mut story = Story::new();
    let [one, two, three] = [1, 1, 1].map(|qos| story.acknowledged(TOPIC, qos));
    for number in [one, three, one, two] {
        story.comes(number);
    }
    story.ends_with(&[(Fault::Order, 1)]);
}

#[test]
fn nothing_published_after_unsuback_may_come() {
    let mut story = Story::new();
    let before = story.acknowledged(TOPIC, 2);
    story.ledger.leaving(story.member, FILTER);
    let meanwhile = story.acknowledged(TOPIC, 2);
    story.ledger.left(story.member, FILTER);
    let after = story.acknowledged(TOPIC, 2);
    for number in [before, meanwhile, after] {
        story.comes(number);
    }
    story.ends_with(&[(Fault::SubscriptionReturned, 1)]);
}

#[test]
fn nothing_of_before_may_come_after_clean_start() {
    let mut story = Story::new();
    let before = story.acknowledged(TOPIC, 2);
    story.ledger.ended(story.member);
    story.comes(before);
    // And what did not come is not missed.
    story.acknowledged(TOPIC, 2);
    story.ends_with(&[(Fault::SubscriptionReturned, 1)]);
}

#[test]
fn a_forgotten_session_has_lost_what_was_acknowledged() {
    let mut story = Story::new();
    story.acknowledged(TOPIC, 1);
    story.ledger.forgotten(story.member);
    // Nobody waits for that.
    assert_eq!(story.ledger.waiting(), 0);
    story.acknowledged(TOPIC, 1);
    story.ends_with(&[(Fault::SessionLost, 1), (Fault::Lost1, 1)]);
}

#[test]
fn a_subscription_that_does_not_answer_a_probe_is_lost() {
    let mut story = Story::new();
    let number = story
        .ledger
        .sent(story.author, TOPIC, 1, None, Purpose::Probe);
    story.ledger.promised(number);
    story.ledger.done(number);
    story.ends_with(&[(Fault::SubscriptionLost, 1)]);
}

#[test]
fn one_member_of_a_group_is_enough_and_two_are_too_many() {
    let mut story = Story::new();
    let members = ["m1", "m2"].map(|name| story.ledger.member(name));
    for member in members {
        story.subscribe(member, "$share/g/k/+/shared/#");
    }
    let [first, second] = [2, 2].map(|qos| story.acknowledged("k/p/shared/2", qos));
    assert_eq!(story.ledger.waiting(), 2);
    story.comes_to(members[0], second);
    story.comes_to(members[1], first);
    assert_eq!(story.ledger.waiting(), 0);
    story.comes_to(members[0], first);
    story.acknowledged("k/p/shared/2", 2);
    story.ends_with(&[(Fault::Twice, 1), (Fault::Lost2, 1)]);
}

#[test]
fn wills_are_due_once_or_not_at_all() {
    let mut story = Story::new();
    let dues = [Due::Yes, Due::Yes, Due::No, Due::Perhaps, Due::Perhaps];
    let wills = dues.map(|due| {
        let purpose = Purpose::Will(due);
        let number = story.ledger.sent(story.author, TOPIC, 2, None, purpose);
        if due != Due::Perhaps {
            story.ledger.will_is_due(number, due);
        }
        number
    });
    // The first twice, the second not, the third although its client came back, and one of the others.
    for nth in [0, 0, 2, 4] {
        story.comes(wills[nth]);
    }
    let faults = [Fault::WillTwice, Fault::WillLost, Fault::WillUnwarranted];
    story.ends_with(&faults.map(|fault| (fault, 1)));
}

#[test]
fn what_comes_must_be_what_was_published() {
    let mut story = Story::new();
    let expiring = |story: &mut Story| {
        let (author, purpose) = (story.author, Purpose::Ordinary);
        story.ledger.sent(author, TOPIC, 1, Some(100), purpose)
    };
    let number = story.sent(TOPIC, 1);
    let as_sent = story.received(number);
    let mut altered = [(); 4].map(|()| as_sent.clone());
    altered[0].payload.push('y');
    altered[1].qos = 0;
    altered[2].properties = vec![0x0B, 2];
    altered[3].properties = vec![0x0B, 1, 0x02, 0, 0, 0, 9];
    for received in &altered {
        story.ledger.delivered(story.member, received);
    }
    // Time may have gone by, but not backwards.
    let number = expiring(&mut story);
    for left in [99, 101] {
        let mut received = story.received(number);
        received.properties.extend([0x02, 0, 0, 0, left]);
        story.ledger.delivered(story.member, &received);
    }
    assert_eq!(story.ledger.faults.number(Fault::Altered), 5);
}

#[test]
fn a_topic_retains_what_was_acknowledged_last_or_anything_since() {
    let mut story = Story::new();
    let topic = "k/p/ret/1";
    let mut send = |removes: bool, acknowledged: bool| {
        let number = story.sent(topic, 1);
        story.ledger.retained.sent(topic, number, removes);
        if acknowledged {
            story.ledger.promised(number);
        }
        number
    };
    let old = send(false, true);
    let last = send(false, true);
    let since = send(false, false);
    let retained = &story.ledger.retained;
    let floor = retained.floor()[topic];
    let fault = |seen| {
        retained
            .judge(topic, floor, seen)
            .err()
            .map(|(fault, _)| fault)
    };
    assert_eq!(fault(Some(last)), None);
    assert_eq!(fault(Some(since)), None);
    assert_eq!(fault(Some(old)), Some(Fault::RetainedOld));
    assert_eq!(fault(None), Some(Fault::RetainedLost));
}

#[test]
fn a_topic_whose_removal_was_acknowledged_retains_nothing_older() {
    let mut story = Story::new();
    let topic = "k/p/ret/1";
    let numbers = [false, true, false].map(|removes| {
        let number = story.sent(topic, 1);
        story.ledger.retained.sent(topic, number, removes);
        number
    });
    let judge = |story: &Story, seen| {
        let retained = &story.ledger.retained;
        let judged = retained.judge(topic, retained.floor()[topic], seen);
        judged.err().map(|(fault, _)| fault)
    };
    story.ledger.promised(numbers[0]);
    // Its removal is on its way and may have happened.
    assert_eq!(judge(&story, None), None);
    assert_eq!(judge(&story, Some(numbers[0])), None);
    story.ledger.promised(numbers[1]);
    assert_eq!(judge(&story, None), None);
    assert_eq!(
        judge(&story, Some(numbers[0])),
        Some(Fault::RetainedReturned)
    );
    assert_eq!(judge(&story, Some(numbers[2])), None);
    story.ledger.promised(numbers[2]);
    assert_eq!(judge(&story, None), Some(Fault::RetainedLost));
}
