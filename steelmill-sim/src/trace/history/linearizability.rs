//! Linearizability search: finds an order of one key's operations in which the model gives the same replies.
//!
//! It is Wing and Gong's search in Lowe's just-in-time form. Of the operations not placed yet, the one that returned
//! first must be placed next; others are placed before it only as far as that makes it possible, fewest first. At a
//! dead end the search backtracks to the last choice. A memo of the configurations tried (which operations are placed,
//! and the state), Lowe's, prevents repeated work.
//!
//! An operation with an unknown outcome is *optional*. Three reductions keep the number of configurations small:
//!
//! - **A read that is possible now is placed now**, and no alternative is tried: it does not affect later operations. But an
//!   optional operation that has to take effect before the read was invoked, and was not used, would come too late then.
//! - **Equal operations are placed in their order**, by invocation and return: of twenty that overlap, each returning the same,
//!   one order is tried.
//! - **A configuration is dominated** if another has the same required operations placed and the same state, but used
//!   fewer optional ones. Of equal optional operations the earliest is used first. So k unknown writes cost about k
//!   states, not 2^k sets.
//!
//! Literature: J. Wing, C. Gong, *Testing and Verifying Concurrent Objects*, J. Parallel Distrib. Comput. 17, 1993.
//! G. Lowe, *Testing for Linearizability*, Concurrency Computat. Pract. Exper. 29(4), 2017. A. Horn, D. Kroening,
//! *Faster Linearizability Checking via P-Compositionality*, FORTE 2015. M. Herlihy, J. Wing, *Linearizability: A
//! Correctness Condition for Concurrent Objects*, ACM TOPLAS 12(3), 1990.

use std::hash::{BuildHasherDefault, DefaultHasher};

use super::Model;
use super::bits::Bits;

/// One operation on the key. `invoked` and `returned` are sequence numbers in the order of recording.
#[derive(Debug)]
pub(super) struct Operation<'a, M: Model> {
    pub(super) op: &'a M::Op,
    pub(super) invoked: usize,
    /// The latest point at which it may take effect; `None` if unbounded.
    pub(super) returned: Option<usize>,
    /// Whether it must take effect rather than may. A required operation has returned.
    pub(super) required: bool,
    /// The reply; `None` if any is allowed.
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

    /// Whether this operation may always be placed before an equal one that was invoked later. If both must be placed, they can change
    /// places where it does not return later; if only one is, it can stand for the other where neither ever returned.
    fn is_twin(&self, later: &Self) -> bool {
        let is_equal = self.required == later.required && self.op == later.op && self.ret == later.ret;
        let may_be_first = match self.required {
            true => self.returned <= later.returned,
            false => self.returned.is_none() && later.returned.is_none(),
        };
        is_equal && may_be_first
    }
}

pub(super) enum Found<M> {
    Order,
    NoOrder(DeadEnd<M>),
    OutOfSteps,
}

/// The furthest dead end of the search.
pub(super) struct DeadEnd<M> {
    /// The returned operation that cannot be placed.
    pub(super) blocked: usize,
    /// The placed operations, in order; they include all required ones that returned before the blocked one.
    pub(super) order: Vec<usize>,
    pub(super) state: M,
}

/// Searches for an order of `operations`, sorted by invocation; an application of the model takes one of `steps`.
pub(super) fn search<M: Model>(initial: &M, operations: &[Operation<'_, M>], steps: &mut u64) -> Found<M> {
    let mut search = Search::new(operations, steps);
    let mut entered = Some((Configuration::initial(initial), 0));
    let mut path: Vec<Node<M>> = Vec::new();
    let mut furthest: Option<(usize, DeadEnd<M>)> = None;
    loop {
        if let Some((configuration, from)) = entered.take() {
            let Some(node) = search.enter(configuration, from, path.last()) else {
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

/// The search over one key. Required and optional operations are numbered separately, each by invocation.
struct Search<'a, M: Model> {
    operations: &'a [Operation<'a, M>],
    required: Vec<usize>,
    turns: Vec<usize>,
    optional: Vec<usize>,
    /// For each operation the one before which it need not be placed.
    required_twin: Vec<Option<usize>>,
    optional_twin: Vec<Option<usize>>,
    /// Whether an optional operation has a latest point at which it may take effect.
    expires: bool,
    tried: Tried<M>,
    steps: &'a mut u64,
}

/// Memo, by placed required operations and state, of the optional operations used; none dominates another.
#[expect(clippy::disallowed_types, reason = "its hasher has a fixed key, and it is never iterated")]
type Tried<M> = std::collections::HashMap<(Bits, M), Vec<Usage>, BuildHasherDefault<DefaultHasher>>;

/// A node of the search path: the operation to be placed next, and how far its alternatives have been tried.
struct Node<M> {
    /// The index of the previous node's state from which this node was entered.
    from: usize,
    /// The required operation to be placed next, as an index into `turns`.
    turn: usize,
    /// The other required operations that may precede it.
    alternatives: Vec<usize>,
    optional: bool,
    /// The state on entry, then the states reachable from it by other operations, fewest operations first.
    states: Vec<Configuration<M>>,
    visited: usize,
    expanded: usize,
}

struct Configuration<M> {
    state: M,
    done: Bits,
    usage: Usage,
    /// The index of the node's state it was derived from, and the operation applied.
    derived_from: Option<(usize, OperationId)>,
    /// The only alternative worth trying, a read, has been placed.
    settled: bool,
}

#[derive(Clone, Copy)]
enum OperationId {
    Required(usize),
    Optional(usize),
}

/// The part of a configuration that restricts which optional operations remain usable.
#[derive(Clone)]
struct Usage {
    used: Bits,
    /// The latest invocation of all placed operations: an operation that returned before cannot be placed any more.
    latest: usize,
}

impl<M: Model> Configuration<M> {
    fn initial(state: &M) -> Self {
        let usage = Usage { used: Bits::default(), latest: 0 };
        Self { state: state.clone(), done: Bits::default(), usage, derived_from: None, settled: false }
    }
}

impl<'a, M: Model> Search<'a, M> {
    fn new(operations: &'a [Operation<'a, M>], steps: &'a mut u64) -> Self {
        // An optional read constrains nothing.
        let (required, optional): (Vec<_>, Vec<_>) = (0..operations.len())
            .filter(|&index| operations[index].required || !operations[index].is_read())
            .partition(|&index| operations[index].required);
        let mut turns: Vec<_> = (0..required.len()).collect();
        turns.sort_by_key(|&number| operations[required[number]].returned);
        let twins = |numbers: &[usize]| -> Vec<_> {
            let is_twin =
                |this: usize, other: &usize| operations[numbers[*other]].is_twin(&operations[numbers[this]]);
            (0..numbers.len()).map(|this| (0..this).rev().find(|other| is_twin(this, other))).collect()
        };
        Self {
            operations,
            required_twin: twins(&required),
            required,
            turns,
            optional_twin: twins(&optional),
            expires: optional.iter().any(|&index| operations[index].returned.is_some()),
            optional,
            tried: Tried::default(),
            steps,
        }
    }

    /// Determines the operation to be placed next. `None` if all required operations are placed.
    fn enter(&self, entered: Configuration<M>, from: usize, before: Option<&Node<M>>) -> Option<Node<M>> {
        let first = before.map_or(0, |node| node.turn + 1);
        let turn = (first..self.turns.len()).find(|&turn| !entered.done.contains(self.turns[turn]))?;
        let end = self.operation(OperationId::Required(self.turns[turn])).returned;
        let alternatives: Vec<_> = (entered.done.first_absent()..self.required.len())
            .take_while(|&number| Some(self.operation(OperationId::Required(number)).invoked) < end)
            .filter(|&number| number != self.turns[turn] && !entered.done.contains(number))
            .collect();
        let is_fixed = |&number: &usize| self.operation(OperationId::Required(number)).is_overwrite();
        let optional = !(alternatives.iter().all(is_fixed) && is_fixed(&self.turns[turn]));
        Some(Node { from, turn, alternatives, optional, states: vec![entered], visited: 0, expanded: 0 })
    }

    fn index(&self, id: OperationId) -> usize {
        match id {
            OperationId::Required(number) => self.required[number],
            OperationId::Optional(number) => self.optional[number],
        }
    }

    fn operation(&self, id: OperationId) -> Operation<'a, M> {
        self.operations[self.index(id)]
    }

    /// Places the node's operation in the next way that leads to a new configuration; `None` if there is no other way.
    fn advance(&mut self, node: &mut Node<M>) -> Result<Option<(Configuration<M>, usize)>, OutOfSteps> {
        let target = OperationId::Required(self.turns[node.turn]);
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
                    return Ok(Some((Configuration { derived_from: None, ..next }, from)));
                }
            } else if node.expanded < node.states.len() {
                self.expand(node)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Places a possible read in one of the node's states, if there is one.
    fn settle(&mut self, node: &mut Node<M>, from: usize) -> Result<bool, OutOfSteps> {
        for &alternative in &node.alternatives {
            let id = OperationId::Required(alternative);
            if self.settles(&node.states[from], self.operation(id))
                && !node.states[from].done.contains(alternative)
            {
                let read = self.place(&mut node.states[from], from, id)?;
                node.states.extend(read);
                if node.states[from].settled {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether an operation is a read that makes no optional operation come too late.
    fn settles(&self, configuration: &Configuration<M>, operation: Operation<'_, M>) -> bool {
        let Usage { used, latest } = &configuration.usage;
        let comes_too_late = |number: usize| {
            let returned = self.operation(OperationId::Optional(number)).returned;
            returned.is_some_and(|at| (*latest..operation.invoked).contains(&at)) && !used.contains(number)
        };
        operation.is_read() && !(self.expires && (0..self.optional.len()).any(comes_too_late))
    }

    /// Applies each alternative operation to the next of the node's states.
    fn expand(&mut self, node: &mut Node<M>) -> Result<(), OutOfSteps> {
        let from = node.expanded;
        node.expanded += 1;
        let end = self.operation(OperationId::Required(self.turns[node.turn])).returned;
        let mut choices: Vec<_> =
            node.alternatives.iter().map(|&number| OperationId::Required(number)).collect();
        if node.optional {
            let early = (0..self.optional.len()).map(OperationId::Optional);
            choices.extend(early.take_while(|&id| Some(self.operation(id).invoked) < end));
        }
        for id in choices {
            if node.states[from].settled {
                break;
            }
            if self.is_choice(&node.states[from], id) {
                let next = self.place(&mut node.states[from], from, id)?;
                node.states.extend(next);
            }
        }
        Ok(())
    }

    fn is_choice(&self, configuration: &Configuration<M>, id: OperationId) -> bool {
        let operation = self.operation(id);
        // If its effect is overwritten at once, the optional operation was of no use.
        let is_useless = matches!(configuration.derived_from, Some((_, OperationId::Optional(_))))
            && operation.is_overwrite();
        !is_useless
            && match id {
                OperationId::Required(number) => {
                    let twin = self.required_twin[number];
                    !configuration.done.contains(number)
                        && twin.is_none_or(|twin| configuration.done.contains(twin))
                }
                OperationId::Optional(number) => {
                    let Usage { used, latest } = &configuration.usage;
                    let is_late = operation.returned.is_some_and(|returned| returned < *latest);
                    let was_deferred = self.optional_twin[number].is_none_or(|twin| used.contains(twin));
                    !used.contains(number) && !is_late && was_deferred
                }
            }
    }

    /// Applies an operation to a configuration; `None` if that is impossible or the result is not new.
    fn place(
        &mut self,
        configuration: &mut Configuration<M>,
        from: usize,
        id: OperationId,
    ) -> Result<Option<Configuration<M>>, OutOfSteps> {
        let operation = self.operation(id);
        *self.steps = self.steps.checked_sub(1).ok_or(OutOfSteps)?;
        let Some(state) = configuration.state.step(operation.op, operation.ret) else {
            return Ok(None);
        };
        debug_assert!(!operation.is_read() || state == configuration.state, "not a read: {operation:?}");
        configuration.settled |= self.settles(configuration, operation);
        let (mut done, mut usage) = (configuration.done.clone(), configuration.usage.clone());
        match id {
            OperationId::Required(number) => done.insert(number),
            OperationId::Optional(number) => usage.used.insert(number),
        }
        usage.latest = usage.latest.max(operation.invoked);
        let next = Configuration { state, done, usage, derived_from: Some((from, id)), settled: false };
        Ok(self.is_new(&next).then_some(next))
    }

    /// Whether no configuration in the memo dominates this one; adds it to the memo.
    fn is_new(&mut self, configuration: &Configuration<M>) -> bool {
        let Self { operations, optional, .. } = self;
        // One dominates if every optional operation that only it used would be too late for the other.
        let dominates = |this: &Usage, other: &Usage| {
            let is_late =
                |number: usize| operations[optional[number]].returned.is_some_and(|at| at < other.latest);
            this.latest <= other.latest && this.used.difference(&other.used).all(is_late)
        };
        let tried = self.tried.entry((configuration.done.clone(), configuration.state.clone())).or_default();
        if tried.iter().any(|tried| dominates(tried, &configuration.usage)) {
            return false;
        }
        tried.retain(|tried| !dominates(&configuration.usage, tried));
        tried.push(configuration.usage.clone());
        true
    }

    fn dead_end(&self, path: &[Node<M>]) -> DeadEnd<M> {
        let mut order = Vec::new();
        for (node, next) in path.iter().zip(&path[1..]) {
            let first = order.len();
            let mut configuration = &node.states[next.from];
            while let Some((from, id)) = configuration.derived_from {
                order.insert(first, self.index(id));
                configuration = &node.states[from];
            }
            order.push(self.required[self.turns[node.turn]]);
        }
        let last = &path[path.len() - 1];
        let blocked = self.required[self.turns[last.turn]];
        DeadEnd { blocked, order, state: last.states[0].state.clone() }
    }
}
