//! What topics must retain: the last that was acknowledged, or anything sent since.

use std::collections::{BTreeMap, HashMap};

use super::fault::Fault;
use super::ledger::Number;

#[derive(Clone, Copy)]
struct Step {
    number: Number,
    /// An empty payload, which removes.
    removes: bool,
    acknowledged: bool,
}

#[derive(Default)]
pub(super) struct Retained {
    /// Each topic's publications, from the last acknowledged one on.
    topics: BTreeMap<String, Vec<Step>>,
    open: HashMap<Number, String>,
}

/// What was acknowledged when somebody began to look: of each topic, if anything was.
pub(super) type Floor = BTreeMap<String, Option<(Number, bool)>>;

impl Retained {
    /// A message of a topic that has one publisher.
    pub(super) fn sent(&mut self, topic: &str, number: Number, removes: bool) {
        self.open.insert(number, topic.to_owned());
        self.topics.entry(topic.to_owned()).or_default().push(Step {
            number,
            removes,
            acknowledged: false,
        });
    }

    pub(super) fn acknowledged(&mut self, number: Number) {
        let Some(topic) = self.open.remove(&number) else {
            return;
        };
        let steps = self.topics.get_mut(&topic).expect("it was sent");
        if let Some(at) = steps.iter().position(|step| step.number == number) {
            steps[at].acknowledged = true;
            steps.drain(..at);
        }
    }

    pub(super) fn floor(&self) -> Floor {
        let floor = |steps: &Vec<Step>| {
            let first = steps.first().filter(|step| step.acknowledged);
            first.map(|step| (step.number, step.removes))
        };
        let all = self.topics.iter();
        all.map(|(topic, steps)| (topic.clone(), floor(steps)))
            .collect()
    }

    /// Holds what was seen of a topic against the floor.
    pub(super) fn judge(
        &self,
        topic: &str,
        floor: Option<(Number, bool)>,
        seen: Option<Number>,
    ) -> Result<(), (Fault, String)> {
        let (number, removed) =
            floor.map_or((None, true), |(number, removes)| (Some(number), removes));
        let since = |step: &Step| Some(step.number.nth) >= number.map(|number| number.nth);
        let steps = self.topics.get(topic).into_iter().flatten();
        let may_be_gone = removed || steps.clone().any(|step| step.removes && since(step));
        let told = || format!("{topic}: {seen:?}, acknowledged {number:?}");
        match seen {
            None if may_be_gone => Ok(()),
            None => Err((Fault::RetainedLost, told())),
            Some(seen)
                if number.is_none_or(|number| seen.nth >= number.nth)
                    && !(removed && Some(seen) == number) =>
            {
                Ok(())
            }
            Some(_) if removed => Err((Fault::RetainedReturned, told())),
            Some(_) => Err((Fault::RetainedOld, told())),
        }
    }
}
