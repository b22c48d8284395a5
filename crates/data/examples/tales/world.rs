//! The state of the small world while a tale happens: who holds what, what lies where, and who has how many coins.
//!
//! Plots change the world only through these methods, which panic when a plot asks for what cannot be (handing over a
//! thing one does not hold, finding it where it is not). Narration takes its words from what they return.

use std::collections::BTreeMap;

/// Where a thing is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whereabouts {
    /// Somebody has it.
    With(String),
    /// It is inside a container.
    In(String),
    /// It lies at a spot.
    At(String),
}

/// The facts that hold at one moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    things: BTreeMap<String, Whereabouts>,
    broken: BTreeMap<String, bool>,
    coins: BTreeMap<String, usize>,
}

impl World {
    /// Brings a thing into the world, in somebody's hands.
    pub fn own(&mut self, who: &str, thing: &str) {
        self.things.insert(thing.into(), Whereabouts::With(who.into()));
        self.broken.insert(thing.into(), false);
    }

    /// Brings a thing into the world that lies somewhere.
    pub fn lay(&mut self, thing: &str, place: Whereabouts) {
        self.things.insert(thing.into(), place);
        self.broken.insert(thing.into(), false);
    }

    /// Where the thing is now.
    pub fn locate(&self, thing: &str) -> &Whereabouts {
        self.things.get(thing).unwrap_or_else(|| panic!("there is no {thing}"))
    }

    fn require(&self, thing: &str, expected: &Whereabouts) {
        let actual = self.locate(thing);
        assert!(actual == expected, "{thing} is {actual:?}, not {expected:?}");
    }

    /// `who` loses the thing at a spot without noticing.
    pub fn lose(&mut self, who: &str, thing: &str, spot: &str) {
        self.require(thing, &Whereabouts::With(who.into()));
        self.things.insert(thing.into(), Whereabouts::At(spot.into()));
    }

    /// `who` picks up a thing that nobody holds; returns the words for where it was.
    pub fn find(&mut self, who: &str, thing: &str) -> String {
        let words = match self.locate(thing) {
            Whereabouts::At(spot) => spot.clone(),
            Whereabouts::In(container) => container.clone(),
            Whereabouts::With(holder) => panic!("{holder} has the {thing}, it cannot be found"),
        };
        self.things.insert(thing.into(), Whereabouts::With(who.into()));
        words
    }

    /// `who` puts a thing in a container.
    pub fn put(&mut self, who: &str, thing: &str, container: &str) {
        self.require(thing, &Whereabouts::With(who.into()));
        self.things.insert(thing.into(), Whereabouts::In(container.into()));
    }

    /// `from` hands the thing to `to`.
    pub fn hand(&mut self, from: &str, to: &str, thing: &str) {
        self.require(thing, &Whereabouts::With(from.into()));
        self.things.insert(thing.into(), Whereabouts::With(to.into()));
    }

    /// Breaks a whole thing.
    pub fn smash(&mut self, thing: &str) {
        let was = self.broken.insert(thing.into(), true);
        assert_eq!(was, Some(false), "only a whole thing can break: {thing}");
    }

    /// Mends a broken thing.
    pub fn mend(&mut self, thing: &str) {
        let was = self.broken.insert(thing.into(), false);
        assert_eq!(was, Some(true), "only a broken thing can be mended: {thing}");
    }

    /// Adds coins to somebody's purse; returns how many are in it now.
    pub fn earn(&mut self, who: &str, coins: usize) -> usize {
        let purse = self.coins.entry(who.into()).or_default();
        *purse += coins;
        *purse
    }

    /// Takes coins out of somebody's purse.
    pub fn pay(&mut self, who: &str, coins: usize) {
        let purse = self.coins.entry(who.into()).or_default();
        assert!(*purse >= coins, "{who} has {purse} coins and cannot pay {coins}");
        *purse -= coins;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_put_in_a_box_is_found_in_the_box() {
        let mut world = World::default();
        world.own("Anna", "ball");
        world.put("Anna", "ball", "box");
        assert_eq!(world.find("Tom", "ball"), "box");
        assert_eq!(world.locate("ball"), &Whereabouts::With("Tom".into()));
    }

    #[test]
    #[should_panic(expected = "kite is With(\"Tom\"), not With(\"Anna\")")]
    fn nobody_hands_over_what_somebody_else_has() {
        let mut world = World::default();
        world.own("Tom", "kite");
        world.hand("Anna", "Tom", "kite");
    }

    #[test]
    #[should_panic(expected = "cannot pay 3")]
    fn nobody_pays_with_coins_that_are_not_there() {
        World::default().pay("Anna", 3);
    }
}
