//! All topics, told apart by the words at each level that make a difference.

use std::collections::{BTreeSet, VecDeque};

use crate::policy::acl::Place;

/// An answer, and the rules it comes from.
#[derive(Clone, Debug)]
pub(super) struct Value<K> {
    pub(super) kind: K,
    pub(super) why: BTreeSet<(usize, Place)>,
}

/// A word at a level, or all that begin alike and are not named further.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    Is(String),
    Begins(String),
}

impl Word {
    /// Whether `other` is narrower: part of what this stands for were it not named.
    pub(super) fn holds(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(_), _) => false,
            (Self::Begins(all), Self::Is(word)) => word.starts_with(all),
            (Self::Begins(all), Self::Begins(word)) => {
                word.len() > all.len() && word.starts_with(all)
            }
        }
    }

    pub(super) fn is_reserved(&self) -> bool {
        let (Self::Is(word) | Self::Begins(word)) = self;
        word.starts_with('$')
    }
}

/// Topics that begin alike.
#[derive(Clone, Debug)]
pub(super) enum Node<K> {
    /// The same for the topic that ends here and for all that go on.
    Same(Value<K>),
    Split(Box<Split<K>>),
}

#[derive(Clone, Debug)]
pub(super) struct Split<K> {
    /// Of the topic that ends here; `None` at the root, where none does.
    pub(super) end: Option<Value<K>>,
    /// The most particular word decides.
    pub(super) words: Vec<(Word, Node<K>)>,
    pub(super) other: Node<K>,
}

impl<K: PartialEq + Clone> Node<K> {
    pub(super) fn new(end: Value<K>, words: Vec<(Word, Self)>, other: Self) -> Self {
        let (words, other) = joined(words, other, false);
        match other {
            Self::Same(mut all) if words.is_empty() && all.kind == end.kind => {
                all.why.extend(end.why);
                Self::Same(all)
            }
            other => Self::Split(Box::new(Split {
                end: Some(end),
                words,
                other,
            })),
        }
    }

    pub(super) fn root(words: Vec<(Word, Self)>, other: Self) -> Self {
        let (words, other) = joined(words, other, true);
        Self::Split(Box::new(Split {
            end: None,
            words,
            other,
        }))
    }

    /// Of the topic that ends here.
    pub(super) fn end(&self) -> &Value<K> {
        match self {
            Self::Same(value) => value,
            Self::Split(split) => split.end.as_ref().unwrap_or_else(|| split.other.end()),
        }
    }

    pub(super) fn visit(&self, visitor: &mut impl FnMut(&Value<K>)) {
        match self {
            Self::Same(value) => visitor(value),
            Self::Split(split) => {
                split.end.iter().for_each(&mut *visitor);
                for (_, node) in &split.words {
                    node.visit(visitor);
                }
                split.other.visit(visitor);
            }
        }
    }

    /// With other answers, joined again. Rules stay with what is wanted.
    pub(super) fn map(&self, to: &impl Fn(&K) -> bool) -> Node<bool> {
        let value = |value: &Value<K>| {
            let kind = to(&value.kind);
            let why = if kind {
                value.why.clone()
            } else {
                BTreeSet::new()
            };
            Value { kind, why }
        };
        match self {
            Self::Same(all) => Node::Same(value(all)),
            Self::Split(split) => {
                let words = split.words.iter();
                let words = words.map(|(word, node)| (word.clone(), node.map(to)));
                let (words, other) = (words.collect(), split.other.map(to));
                match &split.end {
                    Some(end) => Node::new(value(end), words, other),
                    None => Node::root(words, other),
                }
            }
        }
    }

    /// The same answers everywhere.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Same(one), Self::Same(other)) => one.kind == other.kind,
            (Self::Split(one), Self::Split(other)) => {
                let kind = |end: &Option<Value<K>>| end.as_ref().map(|end| end.kind.clone());
                let mut words = one.words.iter().zip(&other.words);
                one.words.len() == other.words.len()
                    && kind(&one.end) == kind(&other.end)
                    && words.all(|(one, other)| one.0 == other.0 && one.1.is_like(&other.1))
                    && one.other.is_like(&other.other)
            }
            _ => false,
        }
    }

    /// Takes over the rules of a node that is like this one.
    fn absorb(&mut self, other: Self) {
        match (self, other) {
            (Self::Same(one), Self::Same(other)) => one.why.extend(other.why),
            (Self::Split(one), Self::Split(other)) => {
                let other = *other;
                if let (Some(one), Some(other)) = (&mut one.end, other.end) {
                    one.why.extend(other.why);
                }
                for ((_, one), (_, other)) in one.words.iter_mut().zip(other.words) {
                    one.absorb(other);
                }
                one.other.absorb(other.other);
            }
            _ => {}
        }
    }
}

/// Without the words that are answered as they would be if nobody named them.
fn joined<K: PartialEq + Clone>(
    mut words: Vec<(Word, Node<K>)>,
    mut other: Node<K>,
    is_root: bool,
) -> (Vec<(Word, Node<K>)>, Node<K>) {
    // The most particular first, so that what one takes over goes on with it: words, then beginnings,
    // the longest first.
    let length = |word: &Word| match word {
        Word::Is(_) => usize::MAX,
        Word::Begins(all) => all.len(),
    };
    words.sort_by_key(|(word, _)| std::cmp::Reverse(length(word)));
    let first = words.partition_point(|(word, _)| matches!(word, Word::Is(_)));
    let mut beginnings: VecDeque<_> = words.split_off(first).into();
    let mut words: VecDeque<_> = words.into();
    let mut kept = Vec::new();
    while let Some((word, node)) = words.pop_front().or_else(|| beginnings.pop_front()) {
        // Of those behind, the first that holds it is the longest.
        let wider = beginnings.iter_mut().find(|(wider, _)| wider.holds(&word));
        let wider = match wider {
            Some((_, wider)) => wider,
            None if is_root && word.is_reserved() => {
                kept.push((word, node));
                continue;
            }
            None => &mut other,
        };
        if wider.is_like(&node) {
            wider.absorb(node);
        } else {
            kept.push((word, node));
        }
    }
    kept.sort_by(|(one, _), (two, _)| one.cmp(two));
    (kept, other)
}
