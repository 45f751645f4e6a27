//! Trees over topic levels: filters in and all matches of a name out, and the other way round.
//!
//! Walks do not call themselves. Freeing a branch does, once a level: the gate bounds the number of
//! levels (`max_topic_levels`) long before that matters.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

/// Values stored under Topic Filters; asked with a Topic Name.
#[derive(Debug)]
pub struct FilterTree<T> {
    root: FilterNode<T>,
    len: usize,
}

#[derive(Debug)]
struct FilterNode<T> {
    /// Filters that end here.
    values: Vec<T>,
    /// Filters whose next level is `#`.
    rest: Vec<T>,
    plus: Option<Box<FilterNode<T>>>,
    children: HashMap<Box<str>, FilterNode<T>>,
}

impl<T> Default for FilterNode<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            rest: Vec::new(),
            plus: None,
            children: HashMap::new(),
        }
    }
}

impl<T> FilterNode<T> {
    fn child(&self, level: &str) -> Option<&Self> {
        match level {
            "+" => self.plus.as_deref(),
            _ => self.children.get(level),
        }
    }

    fn child_mut(&mut self, level: &str) -> Option<&mut Self> {
        match level {
            "+" => self.plus.as_deref_mut(),
            _ => self.children.get_mut(level),
        }
    }

    fn cut(&mut self, level: &str) {
        match level {
            "+" => self.plus = None,
            _ => {
                self.children.remove(level);
            }
        }
    }

    /// Things that keep this node alive.
    fn content(&self) -> usize {
        self.values.len()
            + self.rest.len()
            + usize::from(self.plus.is_some())
            + self.children.len()
    }
}

impl<T> Default for FilterTree<T> {
    fn default() -> Self {
        Self {
            root: FilterNode::default(),
            len: 0,
        }
    }
}

/// The levels of a filter without a closing `#`, and whether there was one.
fn parts(filter: &str) -> (impl Iterator<Item = &str> + Clone, bool) {
    let (levels, hash) = match filter.strip_suffix('#') {
        Some("") => (None, true),
        Some(head) => (head.strip_suffix('/'), true),
        None => (Some(filter), false),
    };
    (levels.into_iter().flat_map(|levels| levels.split('/')), hash)
}

impl<T> FilterTree<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a value under the valid `filter`.
    pub fn insert(&mut self, filter: &str, value: T) {
        let (levels, hash) = parts(filter);
        let mut node = &mut self.root;
        for level in levels {
            node = match level {
                "+" => node.plus.get_or_insert_default(),
                _ => node.children.entry(level.into()).or_default(),
            };
        }
        if hash {
            node.rest.push(value);
        } else {
            node.values.push(value);
        }
        self.len += 1;
    }

    /// Removes the first value under exactly this filter that `wanted` accepts, and every node that
    /// is empty then.
    pub fn remove(&mut self, filter: &str, mut wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let (levels, hash) = parts(filter);
        let mut node = &mut self.root;
        for level in levels.clone() {
            node = node.child_mut(level)?;
        }
        let list = if hash { &mut node.rest } else { &mut node.values };
        let index = list.iter().position(&mut wanted)?;
        let value = list.swap_remove(index);
        self.len -= 1;
        if node.content() == 0 {
            self.prune(levels);
        }
        Some(value)
    }

    /// Cuts the branch to an empty node at the last place where something else hangs on.
    fn prune<'a>(&mut self, levels: impl Iterator<Item = &'a str> + Clone) {
        let mut keep = 0;
        let mut node = &self.root;
        for (depth, level) in levels.clone().enumerate() {
            if node.content() > 1 {
                keep = depth;
            }
            match node.child(level) {
                Some(child) => node = child,
                None => return,
            }
        }
        let mut node = &mut self.root;
        for (depth, level) in levels.enumerate() {
            if depth == keep {
                node.cut(level);
                return;
            }
            match node.child_mut(level) {
                Some(child) => node = child,
                None => return,
            }
        }
    }

    /// Calls `visit` with each value whose filter matches the valid `name`.
    pub fn for_each_match<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a T)) {
        let mut nodes: Vec<&FilterNode<T>> = vec![&self.root];
        let mut next: Vec<&FilterNode<T>> = Vec::new();
        // [MQTT-4.7.2-1]
        let mut wildcards = !name.starts_with('$');
        for level in name.split('/') {
            for node in nodes.drain(..) {
                if wildcards {
                    node.rest.iter().for_each(&mut visit);
                    next.extend(node.plus.as_deref());
                }
                next.extend(node.children.get(level));
            }
            wildcards = true;
            std::mem::swap(&mut nodes, &mut next);
            if nodes.is_empty() {
                return;
            }
        }
        for node in nodes {
            node.values.iter().for_each(&mut visit);
            node.rest.iter().for_each(&mut visit);
        }
    }
}

/// Values stored under Topic Names; asked with a Topic Filter.
#[derive(Debug)]
pub struct NameTree<T> {
    root: NameNode<T>,
    len: usize,
}

#[derive(Debug)]
struct NameNode<T> {
    value: Option<T>,
    /// Ordered, so that matches come in the same order in every run.
    children: BTreeMap<Box<str>, NameNode<T>>,
}

impl<T> Default for NameNode<T> {
    fn default() -> Self {
        Self {
            value: None,
            children: BTreeMap::new(),
        }
    }
}

impl<T> Default for NameTree<T> {
    fn default() -> Self {
        Self {
            root: NameNode::default(),
            len: 0,
        }
    }
}

impl<T> NameTree<T> {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores a value under the valid `name`; gives the one it replaces.
    pub fn insert(&mut self, name: &str, value: T) -> Option<T> {
        let mut node = &mut self.root;
        for level in name.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        let old = node.value.replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        let mut node = &self.root;
        for level in name.split('/') {
            node = node.children.get(level)?;
        }
        node.value.as_ref()
    }

    /// Removes the value under `name`, and every node that is empty then.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let mut node = &mut self.root;
        for level in name.split('/') {
            node = node.children.get_mut(level)?;
        }
        let value = node.value.take()?;
        self.len -= 1;
        if node.children.is_empty() {
            self.prune(name);
        }
        Some(value)
    }

    fn prune(&mut self, name: &str) {
        let mut keep = 0;
        let mut node = &self.root;
        for (depth, level) in name.split('/').enumerate() {
            if node.value.is_some() || node.children.len() > 1 {
                keep = depth;
            }
            match node.children.get(level) {
                Some(child) => node = child,
                None => return,
            }
        }
        let mut node = &mut self.root;
        for (depth, level) in name.split('/').enumerate() {
            if depth == keep {
                node.children.remove(level);
                return;
            }
            match node.children.get_mut(level) {
                Some(child) => node = child,
                None => return,
            }
        }
    }

    /// Calls `visit` with each value whose name the valid `filter` matches, until it breaks.
    pub fn for_each_match<'a>(
        &'a self,
        filter: &str,
        mut visit: impl FnMut(&'a T) -> ControlFlow<()>,
    ) {
        let levels: Vec<&str> = filter.split('/').collect();
        let mut stack: Vec<(&NameNode<T>, usize)> = vec![(&self.root, 0)];
        while let Some((node, depth)) = stack.pop() {
            match levels.get(depth).copied() {
                None => {
                    if let Some(value) = &node.value
                        && visit(value).is_break()
                    {
                        return;
                    }
                }
                Some("#") => {
                    // This level and all below; the index stays at the `#`.
                    if let Some(value) = &node.value
                        && visit(value).is_break()
                    {
                        return;
                    }
                    stack.extend(node.visible(depth).map(|child| (child, depth.max(1))).rev());
                    if depth == 0 {
                        // From here on the `#` is met below the first level, where `$` is a
                        // character like others.
                        self.drain_below(&mut stack, &mut visit);
                        return;
                    }
                }
                Some("+") => {
                    stack.extend(node.visible(depth).map(|child| (child, depth + 1)).rev());
                }
                Some(level) => {
                    stack.extend(node.children.get(level).map(|child| (child, depth + 1)));
                }
            }
        }
    }

    fn drain_below<'a>(
        &'a self,
        stack: &mut Vec<(&'a NameNode<T>, usize)>,
        visit: &mut impl FnMut(&'a T) -> ControlFlow<()>,
    ) {
        while let Some((node, _)) = stack.pop() {
            if let Some(value) = &node.value
                && visit(value).is_break()
            {
                return;
            }
            stack.extend(node.children.values().rev().map(|child| (child, 1)));
        }
    }
}

impl<T> NameNode<T> {
    /// The children a wildcard at `depth` sees: at the first level none that begins with `$`.
    fn visible(&self, depth: usize) -> impl DoubleEndedIterator<Item = &Self> {
        self.children
            .iter()
            .filter(move |(level, _)| depth > 0 || !level.starts_with('$'))
            .map(|(_, child)| child)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::{check_filter, check_name, matches};

    fn names() -> impl Strategy<Value = Vec<String>> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s"), Just("c")];
        let name = prop::collection::vec(level, 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("valid", |name| check_name(name).is_ok());
        prop::collection::vec(name, 0..20)
    }

    fn filters() -> impl Strategy<Value = Vec<String>> {
        let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("$s"), Just("+"), Just("#")];
        let filter = prop::collection::vec(level, 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("valid", |filter| check_filter(filter).is_ok());
        prop::collection::vec(filter, 0..20)
    }

    proptest! {
        #[test]
        fn trees_find_what_matching_one_by_one_finds(names in names(), filters in filters()) {
            let mut by_filter = FilterTree::default();
            for (index, filter) in filters.iter().enumerate() {
                by_filter.insert(filter, index);
            }
            for name in &names {
                let mut found = Vec::new();
                by_filter.for_each_match(name, |&index| found.push(index));
                found.sort_unstable();
                let expected: Vec<usize> =
                    (0..filters.len()).filter(|&index| matches(&filters[index], name)).collect();
                prop_assert_eq!(found, expected, "{}", name);
            }
            let mut by_name = NameTree::default();
            for name in &names {
                by_name.insert(name, name.clone());
            }
            for filter in &filters {
                let mut found = Vec::new();
                by_name.for_each_match(filter, |name| {
                    found.push(name.clone());
                    ControlFlow::Continue(())
                });
                found.sort();
                let mut expected: Vec<String> =
                    names.iter().filter(|name| matches(filter, name)).cloned().collect();
                expected.sort();
                expected.dedup();
                prop_assert_eq!(found, expected, "{}", filter);
            }
        }

        #[test]
        fn removing_everything_leaves_nothing(names in names(), filters in filters()) {
            let mut by_filter = FilterTree::default();
            for (index, filter) in filters.iter().enumerate() {
                by_filter.insert(filter, index);
            }
            for (index, filter) in filters.iter().enumerate() {
                prop_assert_eq!(by_filter.remove(filter, |&value| value == index), Some(index));
            }
            prop_assert!(by_filter.is_empty());
            prop_assert_eq!(by_filter.root.content(), 0);
            let mut by_name = NameTree::default();
            for name in &names {
                by_name.insert(name, ());
            }
            for name in &names {
                by_name.remove(name);
            }
            prop_assert!(by_name.is_empty());
            prop_assert!(by_name.root.children.is_empty());
        }
    }

    #[test]
    fn a_topic_of_two_thousand_levels_is_stored_found_and_freed() {
        let name = "/".repeat(2_000);
        let mut tree = FilterTree::default();
        tree.insert(&name, 1);
        let mut found = 0;
        tree.for_each_match(&name, |_| found += 1);
        assert_eq!(found, 1);
        assert_eq!(tree.remove(&name, |_| true), Some(1));
    }
}
