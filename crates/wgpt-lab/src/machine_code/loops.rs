//! Finds the hottest loop, and the loops that work beside it: natural loops of the control-flow graph, without those inside
//! them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Counts, Instruction, Line};

/// A block of instructions that are executed one after the other.
#[derive(Default)]
struct Block {
    instructions: Vec<Instruction>,
    successors: Vec<usize>,
}

/// The hottest loop.
#[derive(Debug)]
pub(crate) struct Hot {
    /// Counts of its instructions, excluding nested loops; of the whole shader if it has no loop.
    pub(crate) counts: Counts,
    /// Counts of the enclosing loop's instructions, excluding nested loops; empty if there is none.
    pub(crate) around: Counts,
    /// The instructions in order.
    pub(crate) text: Vec<String>,
    /// All innermost loops that multiply and add, in order, and what is around them.
    pub(crate) nest: Nest,
}

/// The innermost loops that multiply and add, within the smallest loop that holds them all.
#[derive(Debug, Default)]
pub(crate) struct Nest {
    /// What is in the outer loop, but in no loop of `inner`, nor between both.
    pub(crate) outer: Counts,
    /// The inner loops in order.
    pub(crate) inner: Vec<Inner>,
}

/// A loop that multiplies and adds and, if it is not directly in the outer loop, the one between both.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Counts of one turn.
    pub(crate) counts: Counts,
    /// What is in the largest loop between the outer one and this one, but not in this one; empty if there is none.
    pub(crate) between: Counts,
}

/// The hottest loop of a shader: the one with the most multiply-adds outside nested loops, where a product of matrices counts
/// as many of them. If no loop has any, the largest innermost loop.
pub(crate) fn hottest(lines: Vec<Line>) -> Hot {
    let blocks = blocks(lines);
    let loops = loops(&blocks);
    let own: Vec<BTreeSet<usize>> = loops
        .iter()
        .map(|(header, body)| {
            let inside = |other: &usize| other != header && body.contains(other);
            let inner = loops.iter().filter(|(other, _)| inside(other)).flat_map(|(_, body)| body);
            let inner: BTreeSet<_> = inner.copied().collect();
            body.difference(&inner).copied().collect()
        })
        .collect();
    let count = |places: &BTreeSet<usize>| Counts::of(places.iter().flat_map(|place| &blocks[*place].instructions));
    let bodies: Vec<&BTreeSet<usize>> = loops.values().collect();
    let heat = |place: &usize| {
        let counts = count(&own[*place]);
        // Loops that hold others but do no arithmetic of their own are not hot.
        let inner = own[*place].len() == bodies[*place].len();
        (counts.multiply_adds + 256 * counts.matrix, u32::from(inner), counts.instructions)
    };
    let Some(hot) = (0..own.len()).max_by_key(heat) else {
        let all: BTreeSet<_> = (0..blocks.len()).collect();
        let text = texts(&blocks, &all);
        return Hot { counts: count(&all), around: Counts::default(), text, nest: Nest::default() };
    };
    let holds = |place: &usize| *place != hot && bodies[*place].is_superset(bodies[hot]);
    let around = (0..own.len()).filter(holds).min_by_key(|place| bodies[*place].len());
    let around = around.map(|place| count(&own[place])).unwrap_or_default();
    let nest = nest(&bodies, &own, &count);
    Hot { counts: count(&own[hot]), around, text: texts(&blocks, &own[hot]), nest }
}

fn nest(bodies: &[&BTreeSet<usize>], own: &[BTreeSet<usize>], count: &impl Fn(&BTreeSet<usize>) -> Counts) -> Nest {
    let busy: Vec<_> = (0..own.len()).filter(|place| count(&own[*place]).multiply_adds > 0).collect();
    let holds = |outer: usize, inner: usize| outer != inner && bodies[outer].is_superset(bodies[inner]);
    let inner: Vec<_> = busy.iter().copied().filter(|outer| !busy.iter().any(|inner| holds(*outer, *inner))).collect();
    let holds_all = |place: &usize| inner.iter().all(|inner| holds(*place, *inner));
    let outer = (0..own.len()).filter(holds_all).min_by_key(|place| bodies[*place].len());
    let Some(outer) = outer.filter(|_| !inner.is_empty()) else { return Nest::default() };
    let mut rest = bodies[outer].clone();
    let inner = inner
        .iter()
        .map(|place| {
            let between = (0..own.len()).filter(|other| holds(outer, *other) && holds(*other, *place));
            let between =
                between.max_by_key(|other| bodies[*other].len()).map_or(bodies[*place], |other| bodies[other]);
            rest = &rest - between;
            Inner { counts: count(bodies[*place]), between: count(&(between - bodies[*place])) }
        })
        .collect();
    Nest { outer: count(&rest), inner }
}

fn texts(blocks: &[Block], places: &BTreeSet<usize>) -> Vec<String> {
    places.iter().flat_map(|place| &blocks[*place].instructions).map(|instruction| instruction.text.clone()).collect()
}

/// Cuts lines into blocks, at labels and after branches.
fn blocks(lines: Vec<Line>) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    let mut named = HashMap::new();
    let mut jumps = Vec::new();
    let mut falls = true;
    for line in lines {
        if let Some(label) = line.label {
            if falls {
                let next = blocks.len();
                blocks.last_mut().expect("there is one").successors.push(next);
            }
            named.insert(label, blocks.len());
            blocks.push(Block::default());
            falls = true;
        }
        let place = blocks.len() - 1;
        if let Some(instruction) = line.instruction {
            blocks[place].instructions.push(instruction);
        }
        let branches = line.target.is_some();
        if let Some(target) = line.target {
            jumps.push((place, target));
        }
        if branches || line.ends {
            falls = !line.ends;
            if falls {
                blocks[place].successors.push(place + 1);
            }
            blocks.push(Block::default());
            // The new block is only reached by what was noted above, or by its label.
            falls = true;
        }
    }
    for (from, target) in jumps {
        if let Some(to) = named.get(&target) {
            blocks[from].successors.push(*to);
        }
    }
    blocks
}

/// Natural loops by their headers. Loops with the same header are one.
fn loops(blocks: &[Block]) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut predecessors = vec![Vec::new(); blocks.len()];
    for (from, block) in blocks.iter().enumerate() {
        block.successors.iter().for_each(|to| predecessors[*to].push(from));
    }
    let dominators = dominators(blocks, &predecessors);
    let mut loops: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (latch, block) in blocks.iter().enumerate() {
        for &header in block.successors.iter().filter(|header| dominators[latch].contains(header)) {
            let body = loops.entry(header).or_insert_with(|| BTreeSet::from([header]));
            let mut open = vec![latch];
            while let Some(place) = open.pop() {
                if body.insert(place) {
                    open.extend(&predecessors[place]);
                }
            }
        }
    }
    loops
}

/// The blocks through which every way from the first block to each block leads; empty for blocks that are not reached.
fn dominators(blocks: &[Block], predecessors: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let mut dominators: Vec<Option<BTreeSet<usize>>> = vec![None; blocks.len()];
    dominators[0] = Some(BTreeSet::from([0]));
    let mut changed = true;
    while changed {
        changed = false;
        for place in 1..blocks.len() {
            let known = predecessors[place].iter().filter_map(|from| dominators[*from].as_ref());
            let Some(mut shared) = known.cloned().reduce(|left, right| &left & &right) else { continue };
            shared.insert(place);
            if dominators[place].as_ref() != Some(&shared) {
                dominators[place] = Some(shared);
                changed = true;
            }
        }
    }
    dominators.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Kind, *};

    fn line(kind: Kind) -> Line {
        Line::instruction(kind, 1.0, "x")
    }

    fn to(label: &str, ends: bool) -> Line {
        Line { target: Some(label.to_string()), ends, ..line(Kind::Branch) }
    }

    #[test]
    fn the_loop_with_most_multiply_adds_is_hot_and_the_one_around_it_is_found() {
        let hot = hottest(vec![
            line(Kind::Integer),
            Line::label("outer"),
            line(Kind::GlobalLoad(16)),
            Line::label("inner"),
            line(Kind::MultiplyAdd(1)),
            line(Kind::MultiplyAdd(2)),
            to("inner", false),
            line(Kind::Barrier),
            to("outer", false),
            line(Kind::GlobalStore(16)),
        ]);
        assert_eq!((hot.counts.multiply_adds, hot.counts.instructions), (3, 3));
        assert_eq!((hot.around.global_loads, hot.around.barriers, hot.around.multiply_adds), (1, 1, 0));
    }

    #[test]
    fn loops_that_multiply_and_add_are_found_in_order_with_what_is_around_them() {
        let hot = hottest(vec![
            Line::label("blocks"),
            line(Kind::MultiplyAdd(1)),
            Line::label("steps"),
            line(Kind::GlobalLoad(16)),
            Line::label("scores"),
            line(Kind::MultiplyAdd(2)),
            to("scores", false),
            to("steps", false),
            Line::label("results"),
            line(Kind::MultiplyAdd(3)),
            to("results", false),
            line(Kind::Barrier),
            to("blocks", false),
        ]);
        let outer = &hot.nest.outer;
        assert_eq!((outer.multiply_adds, outer.barriers, outer.global_loads), (1, 1, 0));
        let inner = hot.nest.inner.iter().map(|inner| (inner.counts.multiply_adds, inner.between.global_loads));
        assert_eq!(inner.collect::<Vec<_>>(), [(2, 1), (3, 0)]);
    }

    #[test]
    fn a_branch_forward_makes_no_loop_and_skipped_code_belongs_to_the_loop_that_holds_it() {
        let hot = hottest(vec![to("end", false), line(Kind::MultiplyAdd(1)), Line::label("end"), line(Kind::Move)]);
        assert_eq!(hot.counts.instructions, 3);
        let hot = hottest(vec![
            Line::label("top"),
            to("else", false),
            line(Kind::MultiplyAdd(1)),
            to("end", true),
            Line::label("else"),
            line(Kind::Move),
            Line::label("end"),
            to("top", false),
        ]);
        assert_eq!((hot.counts.multiply_adds, hot.counts.moves, hot.counts.instructions), (1, 1, 5));
    }
}
