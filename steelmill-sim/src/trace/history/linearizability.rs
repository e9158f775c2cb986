//! The search for an order of one key's operations that the model would have answered in the same way.
//!
//! It is Wing and Gong's search in Lowe's just-in-time form. Of the operations that have no place in the order yet, the
//! one that returned first has to get one next; any others go before it only as far as that makes it possible, fewest
//! first. When stuck, the search goes back to the last choice. Lowe's memory of the configurations already tried (which
//! operations have a place, and the state) keeps it from doing the same work twice.
//!
//! An operation with an unknown outcome is *optional*. Two observations keep the number of configurations small:
//!
//! - **A read that is possible now can be placed now**, and no other choice need be tried: it changes nothing for those
//!   that come later.
//! - **A configuration is worthless if another leaves more**: one with the same required operations placed and the same
//!   state, but fewer optional ones used up. Of equal ones the earliest is used first. So k unknown writes cost about k
//!   states, not 2^k sets.
//!
//! Literature: J. Wing, C. Gong, *Testing and Verifying Concurrent Objects*, J. Parallel Distrib. Comput. 17, 1993.
//! G. Lowe, *Testing for Linearizability*, Concurrency Computat. Pract. Exper. 29(4), 2017. A. Horn, D. Kroening,
//! *Faster Linearizability Checking via P-Compositionality*, FORTE 2015. M. Herlihy, J. Wing, *Linearizability: A
//! Correctness Condition for Concurrent Objects*, ACM TOPLAS 12(3), 1990.

use std::hash::{BuildHasherDefault, DefaultHasher};

use super::Model;
use super::bits::Bits;

/// One operation on the key in question. `invoked` and `returned` are places in the order of events.
#[derive(Debug)]
pub(super) struct Operation<'a, M: Model> {
    pub(super) op: &'a M::Op,
    pub(super) invoked: usize,
    /// Until when it may take effect; `None`: at any time.
    pub(super) returned: Option<usize>,
    /// Whether it must take effect, or may. What is required has returned.
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

    fn is_overwrite(&self) -> bool {
        M::is_overwrite(self.op, self.ret)
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
    /// The operation that returned and has no place.
    pub(super) blocked: usize,
    /// The operations that have one, in that order; all required ones that returned before the blocked one are among them.
    pub(super) order: Vec<usize>,
    /// What they lead to.
    pub(super) state: M,
}

/// Looks for an order of `operations`, which come in the order of their invocation. Takes what it needs from `steps`.
pub(super) fn search<M: Model>(initial: &M, operations: &[Operation<'_, M>], steps: &mut u64) -> Found<M> {
    let mut search = Search::new(operations, steps);
    let mut entered = Some((Reached::initial(initial), 0));
    let mut path: Vec<Node<M>> = Vec::new();
    let mut furthest: Option<(usize, DeadEnd<M>)> = None;
    loop {
        if let Some((reached, from)) = entered.take() {
            let Some(node) = search.enter(reached, from, path.last()) else {
                return Found::Order;
            };
            path.push(node);
        }
        let Some(node) = path.last_mut() else {
            return Found::NoOrder(furthest.expect("the root was a dead end").1);
        };
        match search.advance(node) {
            Err(OutOfSteps) => return Found::OutOfSteps,
            Ok(Some(next)) => entered = Some(next),
            Ok(None) => {
                if furthest.as_ref().is_none_or(|(furthest, _)| *furthest < node.turn) {
                    furthest = Some((node.turn, search.dead_end(&path)));
                }
                path.pop();
            }
        }
    }
}

struct OutOfSteps;

/// Required operations are numbered by their invocation, and optional ones too.
struct Search<'a, M: Model> {
    operations: &'a [Operation<'a, M>],
    required: Vec<usize>,
    /// The required ones in the order of their return.
    turns: Vec<usize>,
    optional: Vec<usize>,
    /// For each optional operation the last one before it that is its twin.
    twin: Vec<Option<usize>>,
    /// Whether some optional operation must be used in time or not at all.
    expires: bool,
    tried: Tried<M>,
    steps: &'a mut u64,
}

/// For what was done and each state, the ways to get there, none as good as another.
#[expect(clippy::disallowed_types, reason = "its hasher has a fixed key, and it is never iterated")]
type Tried<M> = std::collections::HashMap<(Bits, M), Vec<Past>, BuildHasherDefault<DefaultHasher>>;

/// A place on the path of the search: whose turn it is, and how far its choices have been tried.
struct Node<M> {
    /// Which of the node's states before this one it was entered from.
    from: usize,
    /// In `turns`: the required operation to be placed next.
    turn: usize,
    /// The other required operations that could come before it.
    rivals: Vec<usize>,
    /// Whether it would help to use optional operations.
    optional: bool,
    /// The state it was entered with, then those that other operations make of it, fewest operations first.
    states: Vec<Reached<M>>,
    visited: usize,
    expanded: usize,
}

/// A configuration.
struct Reached<M> {
    state: M,
    /// The required operations that have a place.
    done: Bits,
    past: Past,
    /// Which of the node's states it was made from, and by what.
    by: Option<(usize, By)>,
    /// There is only one thing to do next, and it has been done.
    settled: bool,
}

#[derive(Clone, Copy)]
enum By {
    Required(usize),
    Optional(usize),
}

/// What the past of a configuration leaves for its future.
#[derive(Clone)]
struct Past {
    /// The optional operations that have a place.
    used: Bits,
    /// When the last of all operations with a place was invoked: what returned before that comes too late.
    latest: usize,
}

impl<M: Model> Reached<M> {
    fn initial(state: &M) -> Self {
        let past = Past { used: Bits::default(), latest: 0 };
        Self { state: state.clone(), done: Bits::default(), past, by: None, settled: false }
    }
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [Operation<'a, M>], steps: &'a mut u64) -> Self {
        // A read that may as well not happen constrains nothing.
        let (required, optional): (Vec<_>, Vec<_>) = (0..operations.len())
            .filter(|&index| operations[index].required || !operations[index].is_read())
            .partition(|&index| operations[index].required);
        let mut turns: Vec<_> = (0..required.len()).collect();
        turns.sort_by_key(|&number| operations[required[number]].returned);
        let is_twin =
            |this: usize, other: usize| operations[optional[other]].is_twin(&operations[optional[this]]);
        let twin = |this: usize| (0..this).rev().find(|&other| is_twin(this, other));
        Self {
            operations,
            required,
            turns,
            twin: (0..optional.len()).map(twin).collect(),
            expires: optional.iter().any(|&index| operations[index].returned.is_some()),
            optional,
            tried: Tried::default(),
            steps,
        }
    }

    /// Finds out whose turn it is. `None` if every required operation has a place.
    fn enter(&self, entered: Reached<M>, from: usize, before: Option<&Node<M>>) -> Option<Node<M>> {
        let first = before.map_or(0, |node| node.turn + 1);
        let turn = (first..self.turns.len()).find(|&turn| !entered.done.contains(self.turns[turn]))?;
        let end = self.operation(By::Required(self.turns[turn])).returned;
        let rivals: Vec<_> = (entered.done.first_absent()..self.required.len())
            .take_while(|&number| Some(self.operation(By::Required(number)).invoked) < end)
            .filter(|&number| number != self.turns[turn] && !entered.done.contains(number))
            .collect();
        let is_fixed = |&number: &usize| self.operation(By::Required(number)).is_overwrite();
        let optional = !(rivals.iter().all(is_fixed) && is_fixed(&self.turns[turn]));
        Some(Node { from, turn, rivals, optional, states: vec![entered], visited: 0, expanded: 0 })
    }

    fn index(&self, by: By) -> usize {
        match by {
            By::Required(number) => self.required[number],
            By::Optional(number) => self.optional[number],
        }
    }

    fn operation(&self, by: By) -> Operation<'a, M> {
        self.operations[self.index(by)]
    }

    /// Gives the operation whose turn it is a place, in the next way that leads somewhere new.
    fn advance(&mut self, node: &mut Node<M>) -> Result<Option<(Reached<M>, usize)>, OutOfSteps> {
        let target = By::Required(self.turns[node.turn]);
        loop {
            if node.visited < node.states.len() {
                let from = node.visited;
                node.visited += 1;
                if self.settle(node, from)? {
                    continue;
                }
                if self.is_choice(&node.states[from], target)
                    && let Some(next) = self.place(&mut node.states[from], from, target)?
                {
                    return Ok(Some((Reached { by: None, ..next }, from)));
                }
            } else if node.expanded < node.states.len() {
                self.expand(node)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Places a read that is possible in one of the node's states, if there is one.
    fn settle(&mut self, node: &mut Node<M>, from: usize) -> Result<bool, OutOfSteps> {
        for &rival in &node.rivals {
            let by = By::Required(rival);
            if !self.expires && self.operation(by).is_read() && !node.states[from].done.contains(rival) {
                let read = self.place(&mut node.states[from], from, by)?;
                node.states.extend(read);
                if node.states[from].settled {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Makes of the next of the node's states what each operation makes of it.
    fn expand(&mut self, node: &mut Node<M>) -> Result<(), OutOfSteps> {
        let from = node.expanded;
        node.expanded += 1;
        let end = self.operation(By::Required(self.turns[node.turn])).returned;
        let mut choices: Vec<_> = node.rivals.iter().map(|&number| By::Required(number)).collect();
        if node.optional {
            let early = (0..self.optional.len()).map(By::Optional);
            choices.extend(early.take_while(|&by| Some(self.operation(by).invoked) < end));
        }
        for by in choices {
            if node.states[from].settled {
                break;
            }
            if self.is_choice(&node.states[from], by) {
                let next = self.place(&mut node.states[from], from, by)?;
                node.states.extend(next);
            }
        }
        Ok(())
    }

    fn is_choice(&self, reached: &Reached<M>, by: By) -> bool {
        let operation = self.operation(by);
        // To overwrite what something optional did is to have used that in vain.
        let in_vain = matches!(reached.by, Some((_, By::Optional(_)))) && operation.is_overwrite();
        !in_vain
            && match by {
                By::Required(number) => !reached.done.contains(number),
                By::Optional(number) => {
                    let Past { used, latest } = &reached.past;
                    let is_late = operation.returned.is_some_and(|returned| returned < *latest);
                    let was_deferred = self.twin[number].is_none_or(|twin| used.contains(twin));
                    !used.contains(number) && !is_late && was_deferred
                }
            }
    }

    /// What an operation makes of a state, if that is possible and was not tried before.
    fn place(
        &mut self,
        reached: &mut Reached<M>,
        from: usize,
        by: By,
    ) -> Result<Option<Reached<M>>, OutOfSteps> {
        let operation = self.operation(by);
        *self.steps = self.steps.checked_sub(1).ok_or(OutOfSteps)?;
        let Some(state) = reached.state.step(operation.op, operation.ret) else {
            return Ok(None);
        };
        debug_assert!(!operation.is_read() || state == reached.state, "not a read: {operation:?}");
        reached.settled |= operation.is_read() && !self.expires;
        let (mut done, mut past) = (reached.done.clone(), reached.past.clone());
        match by {
            By::Required(number) => done.insert(number),
            By::Optional(number) => past.used.insert(number),
        }
        past.latest = past.latest.max(operation.invoked);
        let next = Reached { state, done, past, by: Some((from, by)), settled: false };
        Ok(self.is_new(&next).then_some(next))
    }

    /// Whether nothing at least as good was tried before; remembers it.
    fn is_new(&mut self, reached: &Reached<M>) -> bool {
        let Self { operations, optional, .. } = self;
        // As good is what leaves as much: whatever else it used would by then be too late for the other.
        let as_good = |this: &Past, other: &Past| {
            let is_late =
                |number: usize| operations[optional[number]].returned.is_some_and(|at| at < other.latest);
            this.latest <= other.latest && this.used.minus(&other.used).all(is_late)
        };
        let tried = self.tried.entry((reached.done.clone(), reached.state.clone())).or_default();
        if tried.iter().any(|tried| as_good(tried, &reached.past)) {
            return false;
        }
        tried.retain(|tried| !as_good(&reached.past, tried));
        tried.push(reached.past.clone());
        true
    }

    fn dead_end(&self, path: &[Node<M>]) -> DeadEnd<M> {
        let mut order = Vec::new();
        for (node, next) in path.iter().zip(&path[1..]) {
            let first = order.len();
            let mut reached = &node.states[next.from];
            while let Some((from, by)) = reached.by {
                order.insert(first, self.index(by));
                reached = &node.states[from];
            }
            order.push(self.required[self.turns[node.turn]]);
        }
        let last = &path[path.len() - 1];
        let blocked = self.required[self.turns[last.turn]];
        DeadEnd { blocked, order, state: last.states[0].state.clone() }
    }
}
