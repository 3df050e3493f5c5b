//! What was read, and what was to be read when reading ended.

use std::{cell::RefCell, fmt::Write};

use super::Tree;

/// Taken by a [`Reader`](super::Reader) for whoever wants to know more than the value.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Taken>);

#[derive(Debug, Default)]
struct Taken {
    at: usize,
    expected: String,
    /// The value that its own decoder reads, and its offset.
    value: Option<(&'static str, usize)>,
    /// What is complete. A struct gets a field, and a list an element, when that has been read.
    whole: Tree,
    /// The fields and elements we are in, the innermost last, and what was read of each.
    open: Vec<(Step, Tree)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Field(&'static str),
    Element(usize),
}

impl Notes {
    /// All that was read. Of a struct that could not be read to its end, what was read before.
    pub fn into_tree(self) -> Tree {
        self.0.into_inner().whole
    }

    /// The offset of what was read last, or could not be read.
    pub fn at(&self) -> usize {
        self.0.borrow().at
    }

    /// What should have been there.
    pub fn expected(&self) -> String {
        self.0.borrow().expected.clone()
    }

    /// Which field of which element that is: `clients[1].clientUri`. Empty for the whole.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (step, _) in &self.0.borrow().open {
            let written = match step {
                Step::Field(name) if path.is_empty() => write!(path, "{name}"),
                Step::Field(name) => write!(path, ".{name}"),
                Step::Element(index) => write!(path, "[{index}]"),
            };
            written.expect("writing to a string never fails");
        }
        path
    }

    /// The last value that was left to a decoder of its own, and its offset.
    pub fn value(&self) -> Option<(&'static str, usize)> {
        self.0.borrow().value
    }

    pub(super) fn expect(&self, at: usize, expected: String) {
        let mut taken = self.0.borrow_mut();
        taken.at = at;
        taken.expected = expected;
    }

    pub(super) fn expect_value(&self, at: usize, what: &'static str) {
        self.expect(at, what.into());
        self.0.borrow_mut().value = Some((what, at));
    }

    pub(super) fn leaf(&self, tree: Tree) {
        *self.0.borrow_mut().innermost() = tree;
    }

    pub(super) fn enter(&self, step: Step) {
        self.0.borrow_mut().open.push((step, Tree::Absent));
    }

    pub(super) fn leave(&self) {
        let mut taken = self.0.borrow_mut();
        let Some((step, tree)) = taken.open.pop() else { return };
        let parent = taken.innermost();
        match (step, parent) {
            (Step::Field(name), Tree::Struct(fields)) => fields.push((name.into(), tree)),
            (Step::Field(name), parent) => *parent = Tree::Struct(vec![(name.into(), tree)]),
            (Step::Element(_), Tree::List(elements)) => elements.push(tree),
            (Step::Element(_), parent) => *parent = Tree::List(vec![tree]),
        }
    }
}

impl Taken {
    fn innermost(&mut self) -> &mut Tree {
        self.open.last_mut().map_or(&mut self.whole, |(_, tree)| tree)
    }
}
