//! The plots. Each draws its cast, lets the events happen in the [`World`](crate::world::World), tells them in order and
//! records questions whose answers follow from the facts. Returns the tale.

mod home;
mod outside;
mod village;
mod wonders;

use crate::lexicon::Lexicon;
use crate::rng::Rng;
use crate::teller::{Tale, Teller};

/// A plot: tells one tale.
pub type Plot = fn(Teller) -> Tale;

/// All plots with their names.
pub const PLOTS: &[(&str, Plot)] = &[
    ("lost", home::lost),
    ("hidden", home::hidden),
    ("cook", home::cook),
    ("quarrel", home::quarrel),
    ("truth", home::truth),
    ("night", home::night),
    ("gift", home::gift),
    ("rescue", outside::rescue),
    ("race", outside::race),
    ("stuck", outside::stuck),
    ("garden", outside::garden),
    ("learn", outside::learn),
    ("outing", outside::outing),
    ("chase", outside::chase),
    ("young", outside::young),
    ("storm", outside::storm),
    ("wish", village::wish),
    ("newcomer", village::newcomer),
    ("work", village::work),
    ("trade", village::trade),
    ("school", village::school),
    ("sick", village::sick),
    ("royal", wonders::royal),
    ("treasure", wonders::treasure),
    ("fairy", wonders::fairy),
    ("fable", wonders::fable),
    ("dragon", wonders::dragon),
    ("star", wonders::star),
];

/// Tells tale number `index` of a stream.
pub fn tale(lexicon: &Lexicon, seed: u64, stream: u64, index: u64) -> Tale {
    let mut rng = Rng::new(seed, stream, index);
    let (_, plot) = *rng.pick(PLOTS);
    plot(Teller::new(lexicon, rng))
}
