//! The topics of a tree as filters: `a/# but not a/b/#`.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::RuleId;
use crate::policy::acl::{Place, literal};

use super::TooManySteps;
use super::tree::{Node, Split, Value, Word};

/// Steps after which no further filter is written.
const MOST_STEPS: usize = 1_000_000;
/// Above so many filters it is not looked for one that says what another one says.
const MOST_COMPARED: usize = 1_000;

/// Topics: those of a filter without those of others. They are written as in an ACL file of
/// version 2: `name*` for every word that begins so, `%*` and `%%` for the characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// What matches it is meant,
    pub filter: String,
    /// except what matches one of these.
    pub except: Vec<String>,
    /// The rules that decide, with the number of their set.
    pub rules: Vec<(usize, RuleId)>,
}

/// A level of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Word(Word),
    Any,
    Rest,
}

type Filter = Vec<Step>;

struct Found {
    filter: Filter,
    except: BTreeSet<Filter>,
    why: BTreeSet<(usize, Place)>,
}

impl Found {
    fn new(filter: Filter, why: &BTreeSet<(usize, Place)>) -> Self {
        Self {
            filter,
            except: BTreeSet::new(),
            why: why.clone(),
        }
    }
}

pub(super) fn of(
    root: &Node<bool>,
    names: &BTreeMap<(usize, Place), RuleId>,
) -> Result<Vec<Region>, TooManySteps> {
    let mut writer = Writer { left: MOST_STEPS };
    let mut found = Vec::new();
    writer.node(root, &[], &mut found)?;
    // One empty level alone is no topic.
    let is_topic = |filter: &Filter| *filter != [Step::Word(Word::Is(String::new()))];
    found.retain(|region| is_topic(&region.filter));
    for region in &mut found {
        region.except.retain(is_topic);
        let except = &region.except;
        if except.len() <= MOST_COMPARED {
            let is_within = |one: &Filter| {
                let mut others = except.iter().filter(|other| *other != one);
                others.any(|wide| covers(wide, one, true))
            };
            let widest = except.iter().filter(|one| !is_within(one));
            region.except = widest.cloned().collect();
        }
    }
    let regions = without_repetitions(found).into_iter().map(|region| Region {
        filter: written(&region.filter),
        except: region.except.iter().map(|filter| written(filter)).collect(),
        rules: region
            .why
            .iter()
            .filter_map(|key| Some((key.0, names.get(key)?.clone())))
            .collect(),
    });
    Ok(regions.collect())
}

/// What one filter says wholly another one need not say.
fn without_repetitions(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|one, other| one.filter.cmp(&other.filter));
    found.dedup_by(|one, kept| {
        let is_same = one.filter == kept.filter && one.except == kept.except;
        if is_same {
            kept.why.append(&mut one.why);
        }
        is_same
    });
    if found.len() > MOST_COMPARED {
        return found;
    }
    let mut kept: Vec<Found> = Vec::new();
    while let Some(one) = found.pop() {
        let is_wider = |wide: &&mut Found| {
            covers(&wide.filter, &one.filter, true)
                && !wide
                    .except
                    .iter()
                    .any(|hole| overlap(hole, &one.filter, true))
        };
        match found.iter_mut().chain(&mut kept).find(is_wider) {
            Some(wide) => wide.why.extend(one.why),
            None => kept.push(one),
        }
    }
    kept.reverse();
    kept
}

struct Writer {
    left: usize,
}

impl Writer {
    fn spend(&mut self) -> Result<(), TooManySteps> {
        self.left = self.left.checked_sub(1).ok_or(TooManySteps)?;
        Ok(())
    }

    /// Every wanted topic of this node.
    fn node(
        &mut self,
        node: &Node<bool>,
        path: &[Step],
        out: &mut Vec<Found>,
    ) -> Result<(), TooManySteps> {
        self.spend()?;
        let split = match node {
            Node::Same(all) => {
                if all.kind {
                    out.push(Found::new(joined(path, &[Step::Rest]), &all.why));
                }
                return Ok(());
            }
            Node::Split(split) => split,
        };
        if let Node::Same(Value { kind: true, why }) = &split.other {
            return self.cover(split, why, path, out);
        }
        if let Some(Value { kind: true, why }) = &split.end {
            out.push(Found::new(path.to_vec(), why));
        }
        for (word, child) in &split.words {
            self.below(split, &Step::Word(word.clone()), child, path, out)?;
        }
        self.below(split, &Step::Any, &split.other, path, out)
    }

    /// Where whatever no rule names is wanted: one filter for all of it, and its holes.
    fn cover(
        &mut self,
        split: &Split<bool>,
        why: &BTreeSet<(usize, Place)>,
        path: &[Step],
        out: &mut Vec<Found>,
    ) -> Result<(), TooManySteps> {
        let mut found = Found::new(path.to_vec(), why);
        match &split.end {
            Some(end) if !end.kind => found.filter.push(Step::Any),
            Some(end) => found.why.extend(&end.why),
            None => {}
        }
        found.filter.push(Step::Rest);
        self.holes_of_words(split, path, &mut found, out)?;
        out.push(found);
        Ok(())
    }

    fn holes_of_words(
        &mut self,
        split: &Split<bool>,
        path: &[Step],
        found: &mut Found,
        out: &mut Vec<Found>,
    ) -> Result<(), TooManySteps> {
        let words = split.words.iter().map(|(word, _)| word);
        let beginnings = words.filter(|word| matches!(word, Word::Begins(_)));
        let beginnings: Vec<&Word> = beginnings.collect();
        for (word, child) in &split.words {
            let step = Step::Word(word.clone());
            if path.is_empty() && word.is_reserved() {
                self.below(split, &step, child, path, out)?;
                continue;
            }
            let is_within = beginnings.iter().any(|wider| wider.holds(word));
            let written = self.holes(split, &step, child, path, found, out)?;
            if is_within && !written {
                // A hole of the wider word may take away what is wanted here.
                self.below(split, &step, child, path, out)?;
            }
        }
        Ok(())
    }

    /// Takes what is not wanted of this child out of `found`. Whether all that is wanted of it was
    /// written by itself.
    fn holes(
        &mut self,
        parent: &Split<bool>,
        step: &Step,
        child: &Node<bool>,
        path: &[Step],
        found: &mut Found,
        out: &mut Vec<Found>,
    ) -> Result<bool, TooManySteps> {
        self.spend()?;
        let here = joined(path, std::slice::from_ref(step));
        let split = match child {
            Node::Same(all) if all.kind => {
                found.why.extend(&all.why);
                return Ok(false);
            }
            Node::Same(_) => {
                found.except.insert(joined(&here, &[Step::Rest]));
                return Ok(true);
            }
            Node::Split(split) => split,
        };
        match (&split.other, &split.end) {
            (Node::Same(other), Some(end)) if other.kind => {
                found.why.extend(&other.why);
                if end.kind {
                    found.why.extend(&end.why);
                } else {
                    found.except.insert(here.clone());
                }
                self.holes_of_words(split, &here, found, out)?;
                Ok(false)
            }
            (Node::Same(_), Some(end)) if end.kind && split.words.is_empty() => {
                found.why.extend(&end.why);
                found.except.insert(joined(&here, &[Step::Any, Step::Rest]));
                Ok(false)
            }
            _ => {
                found.except.insert(joined(&here, &[Step::Rest]));
                self.below(parent, step, child, path, out)?;
                Ok(true)
            }
        }
    }

    /// The wanted topics of one child, without those that a more particular word decides.
    fn below(
        &mut self,
        parent: &Split<bool>,
        step: &Step,
        child: &Node<bool>,
        path: &[Step],
        out: &mut Vec<Found>,
    ) -> Result<(), TooManySteps> {
        let mut found = Vec::new();
        self.node(child, &joined(path, std::slice::from_ref(step)), &mut found)?;
        let is_root = path.is_empty();
        let siblings = match step {
            // It is as narrow as can be.
            Step::Word(Word::Is(_)) => &[][..],
            _ => &parent.words,
        };
        for (word, sibling) in siblings {
            let is_narrower = match step {
                Step::Word(wider) => wider.holds(word),
                Step::Any | Step::Rest => !(is_root && word.is_reserved()),
            };
            if !is_narrower {
                continue;
            }
            for region in &mut found {
                self.spend()?;
                let rest = region.filter.get(path.len() + 1..).unwrap_or_default();
                if !all_wanted(sibling, rest) {
                    let word = Step::Word(word.clone());
                    let hole = joined(&joined(path, &[word]), rest);
                    region.except.insert(hole);
                }
            }
        }
        out.append(&mut found);
        Ok(())
    }
}

fn joined(path: &[Step], more: &[Step]) -> Filter {
    path.iter().chain(more).cloned().collect()
}

/// Whether every topic of the node that matches is wanted; `false` also where it is not easy to say.
fn all_wanted(node: &Node<bool>, filter: &[Step]) -> bool {
    let split = match node {
        Node::Same(all) => return all.kind,
        Node::Split(split) => split,
    };
    match filter.split_first() {
        None => split.end.as_ref().is_some_and(|end| end.kind),
        Some((Step::Rest, _)) => false,
        Some((Step::Any, rest)) => {
            all_wanted(&split.other, rest)
                && split.words.iter().all(|(_, node)| all_wanted(node, rest))
        }
        Some((Step::Word(word), rest)) => {
            let own = split.words.iter().find(|(named, _)| named == word);
            let wider = split.words.iter().filter(|(wider, _)| wider.holds(word));
            let longest = wider.max_by_key(|(wider, _)| match wider {
                Word::Is(text) | Word::Begins(text) => text.len(),
            });
            let decides = own.or(longest).map_or(&split.other, |(_, node)| node);
            let mut narrower = split.words.iter().filter(|(other, _)| word.holds(other));
            all_wanted(decides, rest) && narrower.all(|(_, node)| all_wanted(node, rest))
        }
    }
}

fn is_reserved(filter: &[Step]) -> bool {
    matches!(filter.first(), Some(Step::Word(word)) if word.is_reserved())
}

/// Whether every topic of `other` is one of `wide`.
fn covers(wide: &[Step], other: &[Step], is_first: bool) -> bool {
    let (step, wide) = match (wide.split_first(), other.split_first()) {
        (None, None) => return true,
        (None, _) => return false,
        (Some((Step::Rest | Step::Any, _)), _) if is_first && is_reserved(other) => return false,
        (Some((Step::Rest, _)), _) => return true,
        (Some(split), _) => split,
    };
    let Some((narrow, other)) = other.split_first() else {
        return false;
    };
    let takes = match (step, narrow) {
        (_, Step::Rest) => false,
        (Step::Any, _) => true,
        (Step::Word(wide), Step::Word(word)) => wide == word || wide.holds(word),
        _ => false,
    };
    takes && covers(wide, other, false)
}

/// Whether some topic is of both.
fn overlap(one: &[Step], other: &[Step], is_first: bool) -> bool {
    if is_first && is_reserved(one) != is_reserved(other) {
        return false;
    }
    match (one.split_first(), other.split_first()) {
        (None, None) | (Some((Step::Rest, _)), _) | (_, Some((Step::Rest, _))) => true,
        (None, _) | (_, None) => false,
        (Some((first, one)), Some((second, other))) => {
            let meet = match (first, second) {
                (Step::Word(first), Step::Word(second)) => {
                    first == second || first.holds(second) || second.holds(first)
                }
                _ => true,
            };
            meet && overlap(one, other, false)
        }
    }
}

fn written(filter: &[Step]) -> String {
    let levels = filter.iter().map(|step| match step {
        Step::Any => "+".to_owned(),
        Step::Rest => "#".to_owned(),
        Step::Word(Word::Is(word)) => literal(word),
        Step::Word(Word::Begins(word)) => format!("{}*", literal(word)),
    });
    levels.collect::<Vec<_>>().join("/")
}
