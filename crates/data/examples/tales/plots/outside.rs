//! Tales that happen outdoors.

use crate::teller::{Tale, Teller};
use crate::world::Whereabouts;

/// Where one may meet an animal, so that nobody finds a seal in a wheat field.
fn draw_animal_and_place(t: &mut Teller) {
    const HAUNTS: &[(&str, &[&str])] = &[
        ("woods", &["fox", "squirrel", "hedgehog", "owl", "deer", "badger"]),
        ("meadow", &["rabbit", "hedgehog", "butterfly", "sparrow", "deer"]),
        ("river", &["otter", "beaver", "duck", "frog", "goose"]),
        ("beach", &["seal", "gull", "crab", "turtle"]),
        ("park", &["squirrel", "sparrow", "robin", "duck", "hedgehog"]),
        ("farm", &["cat", "goat", "sheep", "hen", "goose", "pig"]),
        ("hill", &["rabbit", "sheep", "crow", "fox"]),
        ("lake", &["swan", "duck", "frog", "turtle"]),
        ("orchard", &["robin", "hedgehog", "sparrow", "squirrel"]),
        ("garden", &["mole", "robin", "hedgehog", "cat"]),
    ];
    let (place, animals) = *t.rng.pick(HAUNTS);
    t.draw_one("l", "place", &[place]);
    t.draw_animal("n", animals);
}

/// Animals that are too big to carry or too small to bandage.
const UNFIT: [&str; 7] = ["deer", "pig", "sheep", "seal", "goat", "swan", "butterfly"];

/// A hurt animal is nursed and comes back.
pub fn rescue(mut t: Teller) -> Tale {
    t.season(&["spring", "summer", "autumn"]);
    t.opening();
    draw_animal_and_place(&mut t);
    while UNFIT.contains(&t.form("{n}").as_str()) {
        draw_animal_and_place(&mut t);
    }
    t.draw_one("w", "job", &["vet", "doctor", "farmer", "shepherd", "nurse"]);
    t.say("rescue.find");
    t.ask("rescue.what", "{n.a}");
    t.ask("rescue.where", "{l.at}");
    t.say("rescue.pity");
    t.say("rescue.carry");
    t.ask("rescue.who", "the {w}");
    t.paragraph();
    t.say("rescue.heal");
    t.say("rescue.grow");
    t.maybe(50, "feel.glad");
    t.paragraph();
    t.say("rescue.free");
    t.say("rescue.back");
    t.maybe(50, "moral.help");
    t.finish("rescue.summary")
}

/// The boaster rests, the steady one wins.
pub fn race(mut t: Teller) -> Tale {
    t.words("prize", "<prize>");
    t.words("idle", "<race.idle>");
    t.say("open");
    t.maybe(60, "weather");
    t.say("race.boast");
    t.aside(60);
    t.paragraph();
    t.say("race.dare");
    t.ask("race.prize", "{prize}");
    t.say("race.start");
    t.say("race.rest");
    t.ask("race.rest", "to {idle}");
    t.maybe(50, "ambient");
    t.paragraph();
    t.say("race.pass");
    t.maybe(50, "race.pass");
    t.say("race.win");
    t.ask("race.who", "{h}");
    t.say("feel.glad");
    t.paragraph();
    t.say("race.after");
    t.maybe(60, "moral.pride0");
    t.ending("");
    t.finish("race.summary")
}

/// Things that the wind can carry off.
const FLYING: [&str; 7] = ["kite", "ball", "yo-yo", "scarf", "hat", "feather", "umbrella"];

/// A thing hangs in a tree.
pub fn stuck(mut t: Teller) -> Tale {
    t.season(&["spring", "summer", "autumn"]);
    t.draw_one("o", "toy", &FLYING);
    t.draw_one("l", "place", &["park", "meadow", "hill", "orchard", "farm", "playground"]);
    t.draw_one("w", "job", &["gardener", "firefighter", "painter", "farmer", "carpenter", "woodcutter"]);
    let (hero, thing, tree) = (t.form("{h}"), t.form("{o}"), t.form("in the {tree}"));
    t.world.own(&hero, &thing);
    t.opening();
    t.say("stuck.play");
    t.ask("stuck.thing", "a {o.full}");
    t.world.lose(&hero, &thing, &tree);
    t.say("stuck.up");
    t.ask("stuck.tree", "in a {tree}");
    t.say("stuck.try");
    t.maybe(60, "stuck.try");
    t.maybe(40, "feel.sad");
    t.paragraph();
    t.say("stuck.helper");
    t.world.find(&hero, &thing);
    t.say("stuck.down");
    t.maybe(50, "feel.glad");
    t.say("stuck.thank");
    t.ending("");
    t.finish("stuck.summary")
}

/// A seed grows.
pub fn garden(mut t: Teller) -> Tale {
    t.draw("g", "crop", &[]);
    t.draw_one("w", "job", &["gardener", "farmer", "grocer"]);
    t.season(&["spring"]);
    t.opening();
    t.draw_animal("n", &["goat", "rabbit", "goose", "cow", "sheep"]);
    t.say("garden.seed");
    t.say("garden.plant");
    t.say("garden.wait");
    t.paragraph();
    t.say("garden.sprout");
    t.say("garden.threat");
    t.maybe(50, "garden.threat");
    t.say("garden.grow");
    t.ask("garden.what", "{g.a}");
    t.ask("garden.who", "{h}");
    t.paragraph();
    t.maybe(50, "feel.glad");
    t.say("garden.share");
    t.maybe(50, "moral.try");
    t.finish("garden.summary")
}

/// Somebody learns a skill, at first in vain.
pub fn learn(mut t: Teller) -> Tale {
    t.draw("s", "skill", &[]);
    t.opening();
    t.say("learn.want");
    t.ask("learn.what", "to {s.base}");
    t.say("learn.fail1");
    t.say("learn.quit");
    t.maybe(50, "feel.sad");
    t.paragraph();
    t.say("learn.advice");
    t.say("learn.practice");
    t.maybe(30, "ambient");
    t.paragraph();
    t.say("learn.success");
    t.ask("learn.who", "{h}");
    t.say("feel.glad");
    t.maybe(60, "thanks");
    t.ending("moral.try");
    t.finish("learn.summary")
}

/// A trip with a picnic.
pub fn outing(mut t: Teller) -> Tale {
    t.season(&["spring", "summer"]);
    t.draw_one("l", "place", &["woods", "meadow", "river", "beach", "park", "lake", "hill", "farm", "castle"]);
    t.draw("v", "vehicle", &[]);
    t.draw("x", "food", &[]);
    t.draw("y", "food", &["x"]);
    t.words("food1", "{x.a}");
    t.words("food2", "{y.a}");
    t.words("food2bare", "{y}");
    t.words("game", "<game>");
    t.opening();
    t.say("outing.pack");
    t.ask("outing.where", "{l.to}");
    t.say("outing.ride");
    t.ask("outing.how", "by {v}");
    t.paragraph();
    t.say("outing.arrive");
    t.say("outing.play");
    t.ask("outing.game", "{game}");
    t.maybe(25, "ambient");
    t.draw_animal("n", &["goat", "squirrel", "fox", "dog", "crow"]);
    t.say("outing.eat");
    t.paragraph();
    t.say("outing.trouble");
    t.say("outing.home");
    t.ending("");
    t.finish("outing.summary")
}

/// Dog and cat.
pub fn chase(mut t: Teller) -> Tale {
    t.draw_animal("d", &["dog"]);
    t.draw_animal("c", &["cat"]);
    t.words("dname", "<pet>");
    t.words("cname", "<pet>");
    t.say("open");
    t.say("friends");
    t.aside(60);
    t.paragraph();
    t.say("chase.pets");
    t.ask("chase.dog", "{dname}");
    t.ask("chase.cat", "{cname}");
    t.maybe(40, "weather");
    t.say("chase.run");
    t.say("chase.mess");
    t.maybe(40, "chase.mess");
    t.paragraph();
    t.say("chase.danger");
    t.say("chase.help");
    t.ask("chase.who", "{cname}");
    t.say("chase.peace");
    t.ending("");
    t.finish("chase.summary")
}

/// A young animal has lost its mother.
pub fn young(mut t: Teller) -> Tale {
    t.season(&["spring", "summer"]);
    t.opening();
    draw_animal_and_place(&mut t);
    let animal = t.form("{n}");
    while t.form("{n}") == "butterfly" {
        draw_animal_and_place(&mut t);
    }
    t.words("baby", "{n.baby}");
    t.words("home", "{n.home}");
    t.draw_animal("m", &["crow", "snail", "sheep", "donkey", "cow"]);
    if animal == "sheep" || animal == "crow" {
        t.draw_animal("m", &["donkey", "cow"]);
    }
    t.draw_one("w", "job", &["shepherd", "woodcutter", "farmer", "fisherman"]);
    let (hero, baby, home) = (t.form("{h}"), t.form("{baby}"), t.form("{home}"));
    let place = t.form("{l.at}");
    t.world.lay(&baby, Whereabouts::At(place));
    t.say("young.find");
    t.ask("young.what", "a {baby}");
    t.world.find(&hero, &baby);
    t.say("young.ask");
    t.paragraph();
    t.say("young.go");
    t.world.lose(&hero, &baby, &home);
    t.say("young.meet");
    t.ask("young.where", "{home}");
    t.say("young.joy");
    t.paragraph();
    t.maybe(60, "feel.glad");
    t.ending("moral.help");
    t.finish("young.summary")
}

/// A storm and a shelter with room for one more.
pub fn storm(mut t: Teller) -> Tale {
    t.season(&["spring", "summer", "autumn"]);
    t.draw_one("l", "place", &["woods", "meadow", "river", "hill", "lake", "orchard", "beach"]);
    t.draw_one("w", "job", &["postman", "shepherd", "musician", "doctor", "fisherman"]);
    t.draw_animal("n", &["dog", "cat", "goat", "fox", "hen", "rabbit", "sheep"]);
    t.say("open");
    t.say("friends");
    t.aside(60);
    t.paragraph();
    t.say("storm.calm");
    t.ask("storm.where", "{l.at}");
    t.say("storm.rise");
    t.say("storm.run");
    t.say("storm.inside");
    t.paragraph();
    t.say("storm.knock");
    t.say("storm.share");
    t.maybe(50, "storm.inside");
    t.paragraph();
    t.say("storm.after");
    t.say("feel.glad");
    t.ask("storm.with", "{f}");
    t.ending("moral.help");
    t.finish("storm.summary")
}
