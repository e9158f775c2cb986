//! Minimizes a non-linearizable history to the few operations that contradict each other.
//!
//! An operation is *relaxed* by dropping its reply: it may have taken effect while in flight, or not. Relaxing only
//! allows more orders. So if all but two operations are relaxed and there still is no order, they are contradictory.

use super::linearizability::{DeadEnd, Found, Operation, search};
use super::{Model, Outcome, Record, Violation, verdict};

/// Minimizes the history that led to `dead_end`, with at most `steps` applications of the model.
pub(super) fn violation<M: Model>(
    initial: &M,
    records: &[&Record<M>],
    operations: &[Operation<'_, M>],
    dead_end: DeadEnd<M>,
    mut steps: u64,
) -> Violation {
    let mut case = Case::up_to(dead_end, operations);
    let source = case.source(initial);

    // First the smallest prefix by relevance that still has no order: writes alone if possible...
    let (reads, writes) = (case.by_relevance(true, source), case.by_relevance(false, source));
    let all = reads.len().max(writes.len());
    let fewer = (0..).map(|doublings| 1 << doublings).take_while(|&few| few < all);
    for (keep_reads, keep_writes) in fewer.flat_map(|few| [(0, few), (few, few)]) {
        let relaxed: Vec<_> = reads.iter().skip(keep_reads).chain(writes.iter().skip(keep_writes)).collect();
        if let Some(rest) = case.relaxed(relaxed, initial, &mut steps) {
            case = rest;
            break;
        }
    }
    // ...then relax what is not needed, in chunks of decreasing size: a few dozen searches.
    for reads in [true, false] {
        let mut candidates = case.by_relevance(reads, source);
        candidates.reverse();
        let mut size = candidates.len();
        while size > 0 {
            let mut kept = Vec::new();
            for chunk in candidates.chunks(size) {
                match case.relaxed(chunk, initial, &mut steps) {
                    Some(rest) => case = rest,
                    None => kept.extend_from_slice(chunk),
                }
            }
            candidates = kept;
            size /= 2;
        }
    }
    case.report(records, source)
}

/// Operations without an order, some of them relaxed. Indices are those of the whole history.
struct Case<'a, M: Model> {
    operations: Vec<Operation<'a, M>>,
    dead_end: DeadEnd<M>,
}

impl<'a, M: Model> Case<'a, M> {
    /// The history up to the return of the blocked operation, without later invocations. An operation that returned
    /// later need not be placed, but if it is, its reply counts.
    fn up_to(dead_end: DeadEnd<M>, operations: &[Operation<'a, M>]) -> Self {
        let end = operations[dead_end.blocked].returned;
        let involved = operations.iter().take_while(|operation| Some(operation.invoked) < end);
        let operations = involved
            .map(|operation| Operation {
                required: operation.required && operation.returned <= end,
                ..*operation
            })
            .collect();
        Self { operations, dead_end }
    }

    /// The last operation after which the blocked one would fit: for a stale read, the write whose value it returned.
    fn source(&self, initial: &M) -> Option<usize> {
        let blocked = self.operations[self.dead_end.blocked];
        let mut state = initial.clone();
        let mut source = None;
        for &index in &self.dead_end.order {
            let operation = self.operations[index];
            state = state.step(operation.op, operation.ret).expect("the order is a possible one");
            if !operation.is_read() && state.step(blocked.op, blocked.ret).is_some() {
                source = Some(index);
            }
        }
        source
    }

    /// The reads or the writes that can be relaxed, the most relevant first: those at the end of the order, which the
    /// blocked one contradicts, and those right after its source, which show when that took effect.
    fn by_relevance(&self, reads: bool, source: Option<usize>) -> Vec<usize> {
        let DeadEnd { blocked, order, .. } = &self.dead_end;
        let candidate = |index: &usize| {
            let operation = &self.operations[*index];
            operation.ret.is_some() && operation.is_read() == reads && index != blocked
        };
        let placed: Vec<_> = order.iter().copied().filter(candidate).collect();
        let after_source = order.iter().position(|&index| Some(index) == source).map_or(0, |at| at + 1);
        let early = order[after_source..].iter().copied().filter(candidate).chain(placed.iter().copied());
        let late = placed.iter().rev().copied();
        let unplaced = (0..self.operations.len()).filter(candidate);

        let mut is_new = vec![true; self.operations.len()];
        let mut ranked: Vec<_> = late.zip(early).flat_map(|pair| [pair.0, pair.1]).chain(unplaced).collect();
        ranked.retain(|&index| std::mem::take(&mut is_new[index]));
        ranked
    }

    /// The case with more operations relaxed. `None` if they have an order then, or if the steps run out, which leaves
    /// the report larger than needed.
    fn relaxed<'i>(
        &self,
        indices: impl IntoIterator<Item = &'i usize>,
        initial: &M,
        steps: &mut u64,
    ) -> Option<Self> {
        let mut operations = self.operations.clone();
        for &index in indices {
            operations[index] = Operation { required: false, ret: None, ..operations[index] };
        }
        let share = *steps / 16;
        let mut left = share;
        let found = search(initial, &operations, &mut left);
        *steps -= share - left;
        match found {
            Found::NoOrder(dead_end) => Some(Self { operations, dead_end }),
            Found::Order | Found::OutOfSteps => None,
        }
    }

    /// Reports the operations that are not relaxed, with the source and the order as context.
    fn report(&self, records: &[&Record<M>], source: Option<usize>) -> Violation {
        let Self { operations, dead_end: DeadEnd { blocked, order, state } } = self;
        let essential = |index: usize| operations[index].ret.is_some();
        let shown: Vec<_> = (0..operations.len())
            .filter(|&index| essential(index) || order.contains(&index) || source == Some(index))
            .collect();
        let row = |index: &usize| shown.binary_search(index).expect("what is in the order is shown");
        Violation {
            key: records[*blocked].key.clone(),
            operations: shown.iter().map(|&index| operation(records[index], essential(index))).collect(),
            offender: row(blocked),
            source: source.as_ref().map(row),
            order: order.iter().map(row).collect(),
            state: format!("{state:?}"),
            recorded: records.len(),
        }
    }
}

fn operation<M: Model>(record: &Record<M>, essential: bool) -> verdict::Operation {
    let (returned, ret) = match &record.outcome {
        Outcome::Returned(moment, ret) => (Some(moment), Some(ret)),
        Outcome::Open | Outcome::Failed => (None, None),
    };
    verdict::Operation {
        client: record.client.clone(),
        what: M::describe(&record.key, &record.op, ret),
        invoked: record.invoked.time,
        returned: returned.map(|moment| moment.time),
        essential,
        span: (record.invoked.order, returned.map(|moment| moment.order)),
        number: record.number,
    }
}
