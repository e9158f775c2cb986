//! What a factory shares, in every combination of provided, built, requested and shadowed on three levels, against a
//! model.
//!
//! The model: a daemon belongs on the deepest level at which it, or one of its dependencies, was declared anew; the
//! shallowest factory from there on that requested it owns the one that all below share.

use std::collections::BTreeMap;

use steelmill_core::{Daemon, Factory, Result, World};

use crate::support::in_the_runtime;

/// A diamond of dependencies: 3 depends on 1 and 2, and these on 0, which reads a value.
const INPUTS: [&[usize]; 4] = [&[], &[0], &[0], &[1, 2]];

/// The action on one daemon on one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Nothing,
    Get,
    Build,
    Provide,
}
use Op::{Build, Get, Nothing, Provide};

/// The actions on one level: on daemons 0, 1 and 3, and whether the value is provided.
#[derive(Debug, Clone, Copy)]
struct Level {
    ops: [Op; 3],
    has_salt: bool,
}

impl Level {
    fn op(&self, part: usize) -> Op {
        match part {
            2 => Nothing, // only ever built for 3
            3 => self.ops[2],
            part => self.ops[part],
        }
    }

    fn all(first: &[Op], second: &[Op], last: &[Op]) -> Vec<Level> {
        let mut levels = Vec::new();
        for a in first {
            for b in second {
                for c in last {
                    levels.extend([false, true].map(|has_salt| Level { ops: [*a, *b, *c], has_salt }));
                }
            }
        }
        levels
    }
}

/// The daemons that the factory of each level owns, as trees: daemon, level and dependencies.
#[derive(Clone, Default)]
struct Model {
    levels: Vec<Level>,
    own: Vec<BTreeMap<usize, String>>,
}

impl Model {
    fn add(&mut self, level: Level) {
        self.levels.push(level);
        self.own.push(BTreeMap::new());
        let depth = self.levels.len() - 1;
        for part in (0..4).filter(|part| level.op(*part) == Provide) {
            self.own[depth].insert(part, format!("{part}@{depth}!"));
        }
        for part in (0..4).filter(|part| level.op(*part) == Build) {
            if !self.own[depth].contains_key(&part) {
                self.build(depth, part);
            }
        }
        for part in (0..4).filter(|part| level.op(*part) == Get) {
            self.get(depth, part);
        }
    }

    /// The level on which a daemon belongs, as seen from `depth`.
    fn home(&self, depth: usize, part: usize) -> usize {
        let declared =
            (0..=depth).rev().find(|level| matches!(self.levels[*level].op(part), Provide | Build));
        if let Some(level) = declared
            && self.levels[level].op(part) == Provide
        {
            return level; // made by hand: from nothing we know of
        }
        let inputs = INPUTS[part].iter().map(|input| self.home(depth, *input));
        let salt = (part == 0).then(|| self.salt(depth)).flatten();
        inputs.chain(declared).chain(salt).max().unwrap_or(0)
    }

    fn get(&mut self, depth: usize, part: usize) -> String {
        let home = self.home(depth, part);
        match self.own[home..=depth].iter().find_map(|own| own.get(&part)) {
            Some(tree) => tree.clone(),
            None => self.build(depth, part),
        }
    }

    fn build(&mut self, depth: usize, part: usize) -> String {
        let inputs = match part {
            0 => format!("{:?}", self.salt(depth)),
            _ => INPUTS[part].iter().map(|input| self.get(depth, *input)).collect(),
        };
        let tree = format!("{part}@{depth}({inputs})");
        self.own[depth].insert(part, tree.clone());
        tree
    }

    fn salt(&self, depth: usize) -> Option<usize> {
        (0..=depth).rev().find(|level| self.levels[*level].has_salt)
    }
}

const BY_TYPE: u8 = 0;
const BY_NAME: u8 = 1;
const BEHIND_A_TRAIT: u8 = 2;
const IN_A_GROUP: u8 = 3;

struct Salt(usize);

/// A daemon that records its dependencies.
struct Part<const PART: usize, const WAY: u8> {
    tree: String,
}

trait Tree<const PART: usize, const WAY: u8>: Send + Sync {
    fn tree(&self) -> String;
}

impl<const PART: usize, const WAY: u8> Tree<PART, WAY> for Part<PART, WAY> {
    fn tree(&self) -> String {
        self.tree.clone()
    }
}

impl<const PART: usize, const WAY: u8> Daemon for Part<PART, WAY> {
    fn build(factory: &mut Factory) -> Result<Self> {
        let inputs = match PART {
            0 => format!("{:?}", factory.try_value::<Salt>().map(|salt| salt.0)),
            1 | 2 => ask::<0, WAY>(factory)?,
            _ => ask::<1, WAY>(factory)? + &ask::<2, WAY>(factory)?,
        };
        Ok(Part { tree: format!("{PART}@{}({inputs})", depth(factory)) })
    }
}

fn depth(factory: &Factory) -> usize {
    factory.path().matches('/').count()
}

fn ask<const PART: usize, const WAY: u8>(factory: &mut Factory) -> Result<String> {
    Ok(match WAY {
        BY_TYPE => factory.get::<Part<PART, WAY>>()?.tree(),
        BY_NAME => factory.get_named::<Part<PART, WAY>>("it")?.tree(),
        BEHIND_A_TRAIT => factory.get_dyn::<dyn Tree<PART, WAY>>()?.tree(),
        _ => factory.group::<dyn Tree<PART, WAY>>()?[0].tree(),
    })
}

fn carry_out<const PART: usize, const WAY: u8>(factory: &mut Factory, op: Op) -> Result {
    let provided = Part::<PART, WAY> { tree: format!("{PART}@{}!", depth(factory)) };
    match (op, WAY) {
        (Nothing, _) => {}
        (Get, _) => drop(ask::<PART, WAY>(factory)?),
        (Build, BY_NAME) => drop(factory.build_named::<Part<PART, WAY>>("it")?),
        (Build, _) => drop(factory.build::<Part<PART, WAY>>()?),
        (Provide, BY_NAME) => factory.provide_named("it", provided)?,
        (Provide, _) => factory.provide(provided)?,
    }
    Ok(())
}

fn set_up<const WAY: u8>(factory: &mut Factory, level: Level) -> Result {
    if level.has_salt {
        factory.provide_value(Salt(depth(factory)))?;
    }
    for turn in [Provide, Build, Get] {
        let op = |part| if level.op(part) == turn { turn } else { Nothing };
        carry_out::<0, WAY>(factory, op(0))?;
        carry_out::<1, WAY>(factory, op(1))?;
        carry_out::<3, WAY>(factory, op(3))?;
    }
    Ok(())
}

fn name<const PART: usize, const WAY: u8>(factory: &mut Factory) -> Result {
    match WAY {
        BEHIND_A_TRAIT => factory.bind::<dyn Tree<PART, WAY>, Part<PART, WAY>>(|daemon| daemon),
        IN_A_GROUP => factory.add_to_group::<dyn Tree<PART, WAY>, Part<PART, WAY>>(|daemon| daemon),
        _ => Ok(()),
    }
}

/// All actions on daemons 0 and 1 on all three levels, with this one on 3 on the upper two.
async fn table<const WAY: u8>(world: impl World, about_3: [&[Op]; 2]) -> Result {
    let mut combinations = 0;
    for top in Level::all(&[Nothing, Get, Provide], &[Nothing, Get, Provide], about_3[0]) {
        let mut factory = Factory::root("demo", world.clone());
        name::<0, WAY>(&mut factory)?;
        name::<1, WAY>(&mut factory)?;
        name::<2, WAY>(&mut factory)?;
        name::<3, WAY>(&mut factory)?;
        set_up::<WAY>(&mut factory, top)?;
        let demo = factory.start().await?;
        let mut model = Model::default();
        model.add(top);

        let every = [Nothing, Get, Build, Provide];
        for middle in Level::all(&every, &every, about_3[1]) {
            let mut factory = demo.child("middle")?;
            set_up::<WAY>(&mut factory, middle)?;
            let between = factory.start().await?;
            let mut model = model.clone();
            model.add(middle);

            for last in Level::all(&[Nothing, Build, Provide], &[Nothing, Build, Provide], &[Nothing]) {
                let mut factory = between.child("last")?;
                set_up::<WAY>(&mut factory, last)?;
                let mut model = model.clone();
                model.add(last);
                // Dependents first, so that the dependencies they build on demand are covered too.
                let expected = [3, 2, 1, 0].map(|part| model.get(2, part));
                let trees = [
                    ask::<3, WAY>(&mut factory)?,
                    ask::<2, WAY>(&mut factory)?,
                    ask::<1, WAY>(&mut factory)?,
                    ask::<0, WAY>(&mut factory)?,
                ];
                assert_eq!(trees, expected, "{top:?}\n{middle:?}\n{last:?}");
                combinations += 1;
            }
            assert!(between.stop().await.is_clean());
        }
        assert!(demo.stop().await.is_clean());
    }
    assert_eq!(combinations, (18 * about_3[0].len()) * (32 * about_3[1].len()) * 18);
    Ok(())
}

/// One seed: there is nothing to schedule.
fn in_the_sim<const WAY: u8>(about_3: [&'static [Op]; 2]) {
    steelmill_sim::check(steelmill_sim::Seed(1), |sim| table::<WAY>(sim.world(), about_3));
}

const ALL: [&[Op]; 2] = [&[Nothing, Get, Provide], &[Nothing, Get, Build]];

/// A few actions, for tests that vary how daemons get their dependencies.
const SOME: [&[Op]; 2] = [&[Get], &[Nothing]];

#[test]
fn by_type() {
    in_the_sim::<BY_TYPE>(ALL);
}

#[test]
fn by_type_in_the_runtime() {
    in_the_runtime(|world| table::<BY_TYPE>(world, SOME));
}

#[test]
fn by_name() {
    in_the_sim::<BY_NAME>(SOME);
}

#[test]
fn behind_a_trait() {
    in_the_sim::<BEHIND_A_TRAIT>(SOME);
}

#[test]
fn in_a_group() {
    in_the_sim::<IN_A_GROUP>(SOME);
}
