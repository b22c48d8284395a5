//! Fairy tales and fables.

use crate::referent::Gender;
use crate::teller::{Tale, Teller};
use crate::world::Whereabouts;

fn draw_gender(t: &mut Teller) -> Gender {
    if t.rng.chance(50) { Gender::He } else { Gender::She }
}

/// A king's or queen's trouble and a humble helper.
pub fn royal(mut t: Teller) -> Tale {
    let gender = draw_gender(&mut t);
    let (title, rule) = match gender {
        Gender::He => ("King", "name.he"),
        Gender::She => ("Queen", "name.she"),
    };
    let name = t.form(&format!("{title} <{rule}>"));
    t.person("r", &name, gender);
    let trouble = *t.rng.pick(&["sleep", "laugh", "crown"]);
    t.words("rtrait", "[wise|just|kind|rich|old|mighty]");
    t.words("metal", "<metal>");
    t.words("kingdom", "<kingdom>");
    t.words("reward", "<reward>");
    t.words("treasure", "[crown|ring|<gem>|seal|necklace]");
    t.draw("x", "food", &[]);
    t.words("food1", "{x.a}");
    t.draw_animal("n", &["goat", "pig", "goose", "donkey", "hen"]);
    t.say("royal.realm");
    t.ask("royal.kingdom", "{kingdom}");
    t.say(&format!("royal.trouble.{trouble}"));
    t.say("royal.call");
    t.paragraph();
    t.say(&format!("royal.fail.{trouble}"));
    t.maybe(40, &format!("royal.fail.{trouble}"));
    t.say("royal.hero");
    t.paragraph();
    t.say(&format!("royal.solve.{trouble}"));
    t.ask("royal.who", "{h}");
    t.say("royal.reward");
    t.ask("royal.reward", "{reward}");
    t.say("royal.feast");
    t.maybe(60, "royal.end");
    t.finish(&format!("royal.summary.{trouble}"))
}

/// A map, three marks, and a chest.
pub fn treasure(mut t: Teller) -> Tale {
    t.draw_one("o", "toy", &super::home::SMALL);
    t.draw("b", "box", &["o"]);
    t.draw("x", "food", &[]);
    t.words("food1", "{x.a}");
    for key in ["m1", "m2", "m3"] {
        t.words(key, "<mark>");
    }
    t.words("mapspot", "<mapspot>");
    t.words("count1", "[twenty|thirty|fifty|a hundred|forty]");
    t.words("dir1", "[north|south|east|west]");
    t.words("dir2", "[left|right]");
    let (hero, thing) = (t.form("{h}"), t.form("{o}"));
    let place = t.form("{b}");
    t.world.lay(&thing, Whereabouts::In(place));
    t.opening();
    t.say("treasure.map");
    t.ask("treasure.map", "in {mapspot}");
    t.say("treasure.set");
    t.paragraph();
    t.say("treasure.step1");
    t.ask("treasure.dir", "{dir1}");
    t.say("treasure.step2");
    t.maybe(60, "treasure.block");
    t.paragraph();
    t.say("treasure.dig");
    let container = t.world.find(&hero, &thing);
    assert_eq!(container, t.form("{b}"), "the thing is found where it lay");
    t.say("treasure.open");
    t.ask("treasure.what", "a {o.full}");
    t.ask("treasure.where", "at the {m3}");
    t.say("treasure.after");
    t.ending("moral.share");
    t.finish("treasure.summary")
}

/// One wish, given away.
pub fn fairy(mut t: Teller) -> Tale {
    t.draw("m", "magic", &[]);
    t.words("trap", "{m.trap}");
    t.draw("need", "need", &[]);
    for (key, column) in [("fneed", "{need.needs}"), ("fwish", "{need.wish}"), ("fdone", "{need.done}")] {
        let words = t.form(column);
        t.words(key, &words);
    }
    t.draw("l", "place", &[]);
    t.opening();
    t.say("fairy.meet");
    t.ask("fairy.whom", "{m.a}");
    t.say("fairy.help");
    t.say("fairy.offer");
    t.paragraph();
    t.say("fairy.think");
    t.say("fairy.wish");
    t.ask("fairy.for", "{f}");
    t.say("fairy.magic");
    t.paragraph();
    t.say("fairy.true");
    t.say("feel.glad");
    t.ending("moral.help");
    t.finish("fairy.summary")
}

/// Two animals and a meal.
pub fn fable(mut t: Teller) -> Tale {
    t.draw("fa", "fabler", &[]);
    t.draw("fc", "fabler", &["fa"]);
    let gender = draw_gender(&mut t);
    for (key, row, gender) in [("a", "fa", gender), ("c", "fc", gender.other())] {
        let name = t.form(&format!("the {{{row}}}"));
        t.person(key, &name, gender);
    }
    t.words("atrait", "[proud|vain|greedy|boastful|bossy]");
    t.words("ctrait", "[clever|quiet|patient|modest|calm|shrewd]");
    t.words("feat", "{fa.feat}");
    let feats = [
        ("stand", "stood"),
        ("sing", "sang"),
        ("dance", "danced"),
        ("jump", "jumped"),
        ("run", "ran"),
        ("climb", "climbed"),
        ("roll", "rolled"),
        ("swim", "swam"),
        ("count", "counted"),
        ("hold", "held"),
    ];
    let feat = t.form("{feat}");
    let (verb, rest) = feat.split_once(' ').unwrap_or((&feat, ""));
    let past = feats.iter().find(|(base, _)| *base == verb);
    let past = past.unwrap_or_else(|| panic!("no past tense for {verb:?}")).1;
    t.text("featdone", &format!("{past} {rest}"));
    t.words("food1", "<fable.meal>");
    t.say("fable.meet");
    t.maybe(60, "weather0");
    t.ask("fable.trait", "{a}");
    t.say("fable.food");
    t.ask("fable.food", "{food1}");
    t.paragraph();
    t.say("fable.claim");
    t.say("fable.answer");
    t.say("fable.vain");
    t.ask("fable.feat", "{a~} {featdone}");
    t.paragraph();
    if t.rng.chance(70) {
        t.say("fable.eat");
        t.say("fable.word");
        t.ask("fable.ate", "{c}");
        t.maybe(50, "fable.moral");
        t.finish("fable.summary")
    } else {
        t.say("fable.share");
        t.say("fable.friends");
        t.ask("fable.cut", "{c}");
        t.maybe(60, "moral.share");
        t.finish("fable.summary.share")
    }
}

/// A dragon with a trouble of its own.
pub fn dragon(mut t: Teller) -> Tale {
    t.draw("d", "dragon", &[]);
    for (key, column) in [("dwhy", "{d.why}"), ("dtold", "{d.told}"), ("dhelp", "{d.help}"), ("dlook", "{d.look}")] {
        let words = t.form(column);
        t.words(key, &words);
    }
    t.opening();
    t.say("dragon.fear");
    t.ask("dragon.color", "{color}");
    t.say("dragon.roar");
    t.say("dragon.brave");
    t.ask("dragon.who", "{h}");
    t.paragraph();
    t.say("dragon.meet");
    t.say("dragon.why");
    t.ask("dragon.why", "because {dtold}");
    t.say("dragon.help");
    t.paragraph();
    t.say("dragon.friend");
    t.maybe(40, "feel.glad");
    t.ending("moral.calm");
    t.finish("dragon.summary")
}

/// A fallen star.
pub fn star(mut t: Teller) -> Tale {
    t.draw_animal("n", &["owl"]);
    t.say("open");
    t.friend();
    t.aside(60);
    t.paragraph();
    t.say("star.night");
    t.say("star.talk");
    t.say("star.plan");
    t.ask("star.with", "{f}");
    t.paragraph();
    t.say("star.fly");
    t.say("star.see");
    t.maybe(50, "star.see");
    t.say("star.home");
    t.ask("star.what", "a star");
    t.paragraph();
    t.say("star.back");
    t.say("feel.glad");
    t.ending("");
    t.finish("star.summary")
}
