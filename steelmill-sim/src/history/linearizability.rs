//! The search for an order of one key's operations that the model would have answered in the same way.
//!
//! It is Wing and Gong's: take an operation that nothing still waiting precedes, apply it, go on; when stuck, put the
//! last one back and try another. Operations live in a doubly linked list of invocations and returns, from which one
//! is lifted and to which it is put back in constant time. Lowe's memory of the configurations already tried (which
//! operations are done, and the state) keeps it from doing the same work twice.
//!
//! An operation with an unknown outcome is *optional*. Two observations keep the number of configurations small:
//!
//! - **A read that is possible now can be taken now**, and no other choice need be tried: it changes nothing for
//!   those that come later.
//! - **What is optional is worth using only right before something required**, to make that possible. And a
//!   configuration is worthless if another with the same state and the same required operations done leaves at least as
//!   many optional ones. Of equal ones the earliest goes first. So k unknown writes cost about k states, not 2^k sets.
//!
//! Literature: J. Wing, C. Gong, *Testing and Verifying Concurrent Objects*, J. Parallel Distrib. Comput. 17, 1993.
//! G. Lowe, *Testing for Linearizability*, Concurrency Computat. Pract. Exper. 29(4), 2017. A. Horn, D. Kroening,
//! *Faster Linearizability Checking via P-Compositionality*, FORTE 2015. M. Herlihy, J. Wing, *Linearizability: A
//! Correctness Condition for Concurrent Objects*, ACM TOPLAS 12(3), 1990.

use std::hash::{BuildHasherDefault, DefaultHasher};

use super::Model;
use super::timeline::{Bits, Place, Timeline};

/// One operation on the key in question. `invoked` and `returned` are places in the order of events.
#[derive(Debug)]
pub(super) struct Operation<'a, M: Model> {
    pub(super) op: &'a M::Op,
    pub(super) invoked: usize,
    /// Until when it may take effect; `None`: at any time.
    pub(super) returned: Option<usize>,
    /// Whether it must take effect, or may.
    pub(super) required: bool,
    /// With what answer; `None`: with any.
    pub(super) ret: Option<&'a M::Ret>,
}

impl<M: Model> Clone for Operation<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Operation<'_, M> {}

impl<M: Model> Operation<'_, M> {
    pub(super) fn is_read(&self) -> bool {
        M::is_read(self.op, self.ret)
    }

    /// Whether this and a later invoked one can stand in for each other.
    fn is_twin(&self, later: &Self) -> bool {
        let open = |operation: &Self| operation.returned.is_none() && operation.ret.is_none();
        open(self) && open(later) && self.op == later.op
    }
}

pub(super) enum Found<M> {
    Order,
    NoOrder(DeadEnd<M>),
    OutOfSteps,
}

/// Where the search got stuck having got furthest.
pub(super) struct DeadEnd<M> {
    /// The operation that returned before it could be given a place.
    pub(super) blocked: usize,
    /// The operations that were given one, in that order; all that had to return before the blocked one are among them.
    pub(super) order: Vec<usize>,
    /// What they lead to.
    pub(super) state: M,
}

/// Looks for an order of `operations`, which come in the order of their invocation. Takes what it needs from `steps`.
pub(super) fn search<M: Model>(initial: &M, operations: &[Operation<'_, M>], steps: &mut u64) -> Found<M> {
    let mut search = Search::new(operations, steps);
    let mut path = vec![search.root(initial)];
    let mut furthest: Option<(usize, DeadEnd<M>)> = None;
    while let Some((blocked, returns)) = search.timeline.horizon() {
        let node = path.last_mut().expect("the search ends with its root");
        match search.advance(node) {
            Err(OutOfSteps) => return Found::OutOfSteps,
            Ok(Some(next)) => path.push(next),
            Ok(None) => {
                if furthest.as_ref().is_none_or(|(furthest, _)| *furthest < returns) {
                    furthest = Some((returns, search.dead_end(blocked, &path)));
                }
                match path.pop().and_then(|node| node.taken) {
                    Some(taken) => search.put_back(taken.required),
                    None => return Found::NoOrder(furthest.expect("the root was stuck").1),
                }
            }
        }
    }
    Found::Order
}

struct OutOfSteps;

/// Required and optional operations are each numbered on their own.
struct Search<'a, M: Model> {
    operations: &'a [Operation<'a, M>],
    required: Vec<usize>,
    optional: Vec<usize>,
    /// For each optional operation the last one before it that is its twin.
    twin: Vec<Option<usize>>,
    /// Whether some optional operation must be used in time or not at all.
    expires: bool,
    timeline: Timeline,
    /// The required operations that have a place.
    done: Bits,
    tried: Tried<M>,
    steps: &'a mut u64,
}

/// For what was done and each state, the ways to get there, none as good as another.
#[allow(
    clippy::disallowed_types,
    reason = "its hasher has a fixed key, and it is never iterated"
)]
type Tried<M> = std::collections::HashMap<(Bits, M), Vec<Past>, BuildHasherDefault<DefaultHasher>>;

/// A configuration on the path of the search, and how far its choices have been tried.
struct Node<M> {
    /// How it was reached; `None` for the root.
    taken: Option<Taken>,
    /// The state it was entered with, then those that optional operations make of it, fewest operations first.
    states: Vec<Reached<M>>,
    /// How many of the states have been expanded.
    expanded: usize,
    /// The next choice in the first state: the required operation after this place of the timeline.
    place: Place,
    /// The required operations to try in the other states, where it might make a difference.
    wanting: Vec<usize>,
    /// The next choice in the other states: which of them, and which of `wanting`.
    next: (usize, usize),
}

#[derive(Clone, Copy)]
struct Taken {
    required: usize,
    /// Which of the states of the node before it was applied to.
    state: usize,
}

struct Reached<M> {
    state: M,
    past: Past,
    /// The state it was made from, and the optional operation that made it.
    by: Option<(usize, usize)>,
}

/// What a configuration's past leaves for its future.
#[derive(Clone)]
struct Past {
    /// The optional operations that have a place.
    used: Bits,
    /// When the last of all operations with a place was invoked: what returned before that comes too late.
    latest: usize,
}

impl Past {
    fn with(&self, invoked: usize) -> Self {
        Self {
            used: self.used.clone(),
            latest: self.latest.max(invoked),
        }
    }
}

impl<M> Node<M> {
    fn new(entered: Reached<M>, taken: Option<Taken>) -> Self {
        let (states, wanting) = (vec![entered], Vec::new());
        Self {
            taken,
            states,
            expanded: 0,
            place: Timeline::START,
            wanting,
            next: (1, 0),
        }
    }
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [Operation<'a, M>], steps: &'a mut u64) -> Self {
        // A read that may as well not happen constrains nothing.
        let (required, optional): (Vec<_>, Vec<_>) = (0..operations.len())
            .filter(|&index| operations[index].required || !operations[index].is_read())
            .partition(|&index| operations[index].required);
        let is_twin =
            |this: usize, other: usize| operations[optional[other]].is_twin(&operations[optional[this]]);
        let twin = |this: usize| (0..this).rev().find(|&other| is_twin(this, other));
        let spans = required.iter().map(|&index| {
            let Operation {
                invoked, returned, ..
            } = operations[index];
            (invoked, returned.expect("what is required has returned"))
        });
        Self {
            operations,
            twin: (0..optional.len()).map(twin).collect(),
            expires: optional.iter().any(|&index| operations[index].returned.is_some()),
            timeline: Timeline::new(spans),
            done: Bits::new(required.len()),
            tried: Tried::default(),
            required,
            optional,
            steps,
        }
    }

    fn root(&self, initial: &M) -> Node<M> {
        let past = Past {
            used: Bits::new(self.optional.len()),
            latest: 0,
        };
        Node::new(
            Reached {
                state: initial.clone(),
                past,
                by: None,
            },
            None,
        )
    }

    /// Makes the next untried choice at `node` that leads somewhere new.
    fn advance(&mut self, node: &mut Node<M>) -> Result<Option<Node<M>>, OutOfSteps> {
        while let Some(required) = self.timeline.next_invocation(&mut node.place) {
            let operation = self.operations[self.required[required]];
            let after = self.step(&node.states[0].state, &operation)?;
            if after.is_some() && operation.is_read() && !self.expires {
                node.place = self.timeline.last_invocation();
                node.wanting.clear();
            } else if after.is_none() || !M::is_overwrite(operation.op) {
                node.wanting.push(required);
            }
            if let Some(next) = after.and_then(|after| self.enter(node, Taken { required, state: 0 }, after))
            {
                return Ok(Some(next));
            }
        }
        while !node.wanting.is_empty() {
            let (state, next) = node.next;
            if state == node.states.len() {
                if node.expanded == state {
                    break;
                }
                self.expand(node)?;
            } else if next == node.wanting.len() {
                node.next = (state + 1, 0);
            } else {
                node.next = (state, next + 1);
                let required = node.wanting[next];
                let operation = self.operations[self.required[required]];
                let after = self.step(&node.states[state].state, &operation)?;
                if let Some(next) = after.and_then(|after| self.enter(node, Taken { required, state }, after))
                {
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Applies each optional operation to the next of the node's states.
    fn expand(&mut self, node: &mut Node<M>) -> Result<(), OutOfSteps> {
        let from = node.expanded;
        node.expanded += 1;
        let (_, horizon) = self.timeline.horizon().expect("something is wanting");
        for optional in 0..self.optional.len() {
            let operation = self.operations[self.optional[optional]];
            let before = &node.states[from];
            let early = operation.invoked > horizon;
            let late = operation
                .returned
                .is_some_and(|returned| returned < before.past.latest);
            let out_of_turn = self.twin[optional].is_some_and(|twin| !before.past.used.contains(twin));
            // To overwrite what was used before is to have used that for nothing.
            let in_vain = from > 0 && operation.ret.is_none() && M::is_overwrite(operation.op);
            if early || late || out_of_turn || in_vain || before.past.used.contains(optional) {
                continue;
            }
            let Some(state) = self.step(&before.state, &operation)? else {
                continue;
            };
            let mut past = before.past.with(operation.invoked);
            past.used.insert(optional);
            if self.is_new(&state, &past) {
                node.states.push(Reached {
                    state,
                    past,
                    by: Some((from, optional)),
                });
            }
        }
        Ok(())
    }

    /// Gives an operation its place, unless what that comes to was tried before.
    fn enter(&mut self, node: &Node<M>, taken: Taken, after: M) -> Option<Node<M>> {
        let operation = self.operations[self.required[taken.required]];
        let before = &node.states[taken.state];
        debug_assert!(
            !operation.is_read() || after == before.state,
            "not a read: {operation:?}"
        );
        let past = before.past.with(operation.invoked);
        self.done.insert(taken.required);
        if !self.is_new(&after, &past) {
            self.done.remove(taken.required);
            return None;
        }
        self.timeline.lift(taken.required);
        Some(Node::new(
            Reached {
                state: after,
                past,
                by: None,
            },
            Some(taken),
        ))
    }

    fn put_back(&mut self, required: usize) {
        self.timeline.put_back(required);
        self.done.remove(required);
    }

    /// Whether nothing at least as good was tried before; remembers it.
    fn is_new(&mut self, state: &M, past: &Past) -> bool {
        let Self {
            operations, optional, ..
        } = self;
        // As good is what leaves as much: whatever else it used would by then be too late for the other.
        let as_good = |this: &Past, other: &Past| {
            let expired = |index: usize| {
                operations[optional[index]]
                    .returned
                    .is_some_and(|at| at < other.latest)
            };
            this.latest <= other.latest && this.used.minus(&other.used).all(expired)
        };
        let tried = self.tried.entry((self.done.clone(), state.clone())).or_default();
        if tried.iter().any(|tried| as_good(tried, past)) {
            return false;
        }
        tried.retain(|tried| !as_good(past, tried));
        tried.push(past.clone());
        true
    }

    fn step(&mut self, state: &M, operation: &Operation<'_, M>) -> Result<Option<M>, OutOfSteps> {
        *self.steps = self.steps.checked_sub(1).ok_or(OutOfSteps)?;
        Ok(state.step(operation.op, operation.ret))
    }

    fn dead_end(&self, blocked: usize, path: &[Node<M>]) -> DeadEnd<M> {
        let mut order = Vec::new();
        for (node, next) in path.iter().zip(&path[1..]) {
            let taken = next.taken.expect("only the root was not reached");
            let first = order.len();
            let mut reached = &node.states[taken.state];
            while let Some((from, optional)) = reached.by {
                order.insert(first, self.optional[optional]);
                reached = &node.states[from];
            }
            order.push(self.required[taken.required]);
        }
        let state = path[path.len() - 1].states[0].state.clone();
        DeadEnd {
            blocked: self.required[blocked],
            order,
            state,
        }
    }
}
