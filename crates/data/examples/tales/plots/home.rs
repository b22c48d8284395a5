//! Tales that happen at home.

use crate::referent::Gender;
use crate::teller::{Tale, Teller};
use crate::world::Whereabouts;

/// Things that fit into a drawer or a bag.
pub const SMALL: [&str; 18] = [
    "doll",
    "whistle",
    "marble",
    "yo-yo",
    "puppet",
    "ring",
    "necklace",
    "key",
    "coin",
    "button",
    "bell",
    "flute",
    "harmonica",
    "notebook",
    "paintbrush",
    "compass",
    "music box",
    "pocket watch",
];

/// Things that break when two pull at them.
const FRAGILE: [&str; 12] = [
    "kite",
    "doll",
    "drum",
    "wagon",
    "boat",
    "puppet",
    "train",
    "umbrella",
    "music box",
    "lantern",
    "necklace",
    "basket",
];

/// Who can mend them.
const MENDERS: [&str; 7] = ["tailor", "cobbler", "carpenter", "blacksmith", "clockmaker", "toymaker", "basket maker"];

/// Who makes things that one can give.
const MAKERS: [&str; 12] = [
    "potter",
    "weaver",
    "carpenter",
    "toymaker",
    "candle maker",
    "painter",
    "blacksmith",
    "baker",
    "tailor",
    "glassblower",
    "basket maker",
    "bookbinder",
];

/// A thing is lost outdoors and found again with a friend's help.
pub fn lost(mut t: Teller) -> Tale {
    t.draw("o", "toy", &[]);
    t.draw("l", "place", &[]);
    let (hero, thing) = (t.form("{h}"), t.form("{o}"));
    t.world.own(&hero, &thing);
    t.opening();
    t.say("lost.love");
    t.ask("love", "a {o.full}");
    t.paragraph();
    t.say("lost.go");
    t.maybe(25, "ambient");
    let spot = t.form("<spot.out>");
    t.world.lose(&hero, &thing, &spot);
    t.say("lost.gone");
    t.say("lost.search");
    t.maybe(40, "lost.search");
    t.say("feel.sad");
    t.paragraph();
    t.say("lost.meet");
    t.maybe(60, "comfort");
    let found = t.world.find(&hero, &thing);
    t.text("spot", &found);
    t.say("lost.find");
    t.ask("lost.where", "{spot}");
    t.ask("helped", "{f}");
    t.ask("lost.place", "{l.at}");
    t.say("lost.glad");
    t.say("feel.glad");
    t.paragraph();
    t.maybe(70, "thanks");
    t.say("lost.care");
    t.ending("");
    t.finish("lost.summary")
}

/// Somebody moves a thing to another place while its owner is away.
pub fn hidden(mut t: Teller) -> Tale {
    t.draw_one("o", "toy", &SMALL);
    t.draw("b", "box", &["o"]);
    t.draw("c", "box", &["o", "b"]);
    let (hero, friend) = (t.form("{h}"), t.form("{f}"));
    let (thing, first, second) = (t.form("{o}"), t.form("{b}"), t.form("{c}"));
    t.world.own(&hero, &thing);
    t.opening();
    t.say("hidden.start");
    t.world.put(&hero, &thing, &first);
    t.say("hidden.put");
    t.ask("hidden.first", "in the {b}");
    t.paragraph();
    t.world.find(&friend, &thing);
    t.world.put(&friend, &thing, &second);
    t.say("hidden.move");
    t.ask("hidden.who", "{f}");
    t.maybe(25, "ambient");
    t.paragraph();
    t.say("hidden.look");
    t.ask("hidden.looked", "in the {b}");
    t.maybe(60, "feel.sad");
    t.say("hidden.tell");
    assert_eq!(t.world.locate(&thing), &Whereabouts::In(second));
    t.world.find(&hero, &thing);
    t.say("hidden.found");
    t.ask("hidden.last", "in the {c}");
    t.maybe(50, "feel.glad");
    t.say("hidden.close");
    t.ending("");
    t.finish("hidden.summary")
}

/// A dish lacks one ingredient, and a neighbor lends it.
pub fn cook(mut t: Teller) -> Tale {
    t.draw("d", "dish", &[]);
    t.words("lack", "{d.lack}");
    let plural = t.form("{lack}").ends_with('s');
    t.text("lackwas", if plural { "were" } else { "was" });
    t.opening();
    t.say("cook.plan");
    t.ask("cook.dish", "{d.a}");
    t.say("cook.mix");
    t.paragraph();
    t.say("cook.lack");
    t.ask("cook.lack", "{lack}");
    t.maybe(50, "feel.sad");
    let (hero, friend, lack) = (t.form("{h}"), t.form("{f}"), t.form("{lack}"));
    t.world.own(&friend, &lack);
    t.say("cook.ask");
    t.world.hand(&friend, &hero, &lack);
    t.say("cook.lend");
    t.ask("cook.who", "{f}");
    t.maybe(50, "thanks");
    t.paragraph();
    t.say("cook.make");
    t.say("cook.eat");
    t.ending("moral.share");
    t.finish("cook.summary")
}

/// Two children tear at one thing until it breaks.
pub fn quarrel(mut t: Teller) -> Tale {
    t.draw_one("o", "toy", &FRAGILE);
    t.draw("l", "place", &[]);
    t.draw_one("w", "job", &MENDERS);
    let thing = t.form("{o}");
    let place = t.form("{l.at}");
    t.world.lay(&thing, Whereabouts::At(place));
    t.opening();
    t.say("quarrel.want");
    t.ask("quarrel.thing", "a {o.full}");
    t.world.smash(&thing);
    t.say("quarrel.pull");
    t.say("quarrel.silence");
    t.paragraph();
    t.say("quarrel.think");
    t.words("later", "<later>");
    t.say("quarrel.sorry");
    t.world.mend(&thing);
    t.say("quarrel.mend");
    t.ask("quarrel.who", "the {w}");
    t.paragraph();
    t.maybe(60, "feel.glad");
    t.say("quarrel.share");
    t.ending("moral.share");
    t.finish("quarrel.summary")
}

/// A broken vase, a lie, and the truth.
pub fn truth(mut t: Teller) -> Tale {
    t.draw("v", "vase", &[]);
    t.draw_animal("n", &["dog", "cat"]);
    t.words("pet", "<pet>");
    let vase = t.form("{v}");
    t.world.lay(&vase, Whereabouts::At("on the shelf".into()));
    t.say("open");
    t.maybe(50, "weather");
    t.say("truth.pet0");
    t.aside(60);
    t.paragraph();
    t.say("truth.rule");
    t.world.smash(&vase);
    t.say("truth.break");
    t.ask("truth.what", "{v.a}");
    t.ask("truth.who", "{h}");
    t.say("truth.lie");
    t.say("truth.blame");
    t.ask("truth.blamed", "{pet} the {n}");
    t.paragraph();
    t.say("truth.guilt");
    t.maybe(60, "feel.sad");
    t.say("truth.tell");
    t.say("truth.forgive");
    t.paragraph();
    t.say("truth.pet");
    t.maybe(50, "moral.truth");
    t.finish("truth.summary")
}

/// A noise in the night and what made it.
pub fn night(mut t: Teller) -> Tale {
    t.draw_animal("n", &["mouse", "cat", "hedgehog", "squirrel", "hen", "owl", "frog", "rabbit", "duck", "sparrow"]);
    t.words("spot2", "<spot.night>");
    t.say("open");
    t.maybe(40, "weather");
    t.aside(60);
    t.paragraph();
    t.say("night.bed");
    t.say("night.noise");
    t.ask("night.where", "{spot2}");
    t.say("night.fear");
    t.paragraph();
    t.say("night.wake");
    t.ask("night.woke", "{f}");
    t.say("night.light");
    t.say("night.see");
    t.ask("night.what", "{n.a}");
    t.say("night.kind");
    t.paragraph();
    t.say("night.sleep");
    t.maybe(60, "moral.calm");
    t.finish("night.summary")
}

/// A present made by hand.
pub fn gift(mut t: Teller) -> Tale {
    t.draw_one("w", "job", &MAKERS);
    let gender = if t.rng.chance(50) { Gender::He } else { Gender::She };
    let elder = t.form(match gender {
        Gender::He => "<elder.he>",
        Gender::She => "<elder.she>",
    });
    t.person("p", &elder, gender);
    t.words("made", "{w.thing}");
    t.opening();
    t.say("gift.plan");
    t.ask("gift.whom", "{p}");
    t.say("gift.idea");
    t.paragraph();
    t.say("gift.visit");
    t.ask("gift.who", "the {w}");
    t.say("gift.work");
    t.maybe(25, "ambient");
    t.paragraph();
    let (hero, parent, made) = (t.form("{h}"), t.form("{p}"), t.form("{made}"));
    t.world.own(&hero, &made);
    t.world.hand(&hero, &parent, &made);
    t.say("gift.day");
    t.ask("gift.what", "{made}");
    t.say("gift.joy");
    t.maybe(60, "feel.glad");
    t.ending("");
    t.finish("gift.summary")
}
