//! Tales of work, trade and school.

use crate::teller::{Tale, Teller};

/// Number words up to twenty.
pub fn number(n: usize) -> &'static str {
    [
        "no",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ][n]
}

/// Somebody earns the money for a thing.
pub fn wish(mut t: Teller) -> Tale {
    t.draw("o", "toy", &[]);
    t.draw("w", "job", &[]);
    t.words("job1", "<swept>");
    t.words("job2", "<swept>");
    let hero = t.form("{h}");
    let (have, wage) = (2 + t.rng.below(8), 2 + t.rng.below(10));
    t.world.earn(&hero, have);
    let price = t.world.earn(&hero, wage);
    for (key, n) in [("have", have), ("earn", wage), ("price", price)] {
        t.text(key, number(n));
    }
    t.opening();
    t.say("wish.see");
    t.ask("wish.what", "a {o.full}");
    t.say("wish.price");
    t.ask("wish.price", "{price} coins");
    t.maybe(40, "feel.sad");
    t.paragraph();
    t.say("wish.ask");
    t.say("wish.work");
    t.maybe(30, "ambient");
    t.say("wish.paid");
    t.ask("wish.earn", "{earn} coins");
    t.ask("wish.who", "for the {w}");
    t.paragraph();
    t.world.pay(&hero, price);
    t.say("wish.buy");
    t.say("wish.glad");
    t.ending("");
    t.finish("wish.summary")
}

/// A new child finds a friend.
pub fn newcomer(mut t: Teller) -> Tale {
    t.draw("o", "toy", &[]);
    t.draw("y", "food", &[]);
    t.draw("s", "skill", &[]);
    t.words("food2bare", "[bread|apple|sandwich|bun|lunch]");
    t.say("open");
    t.maybe(50, "weather");
    t.aside(60);
    t.paragraph();
    t.say("newcomer.come");
    t.ask("newcomer.who", "{f}");
    t.ask("newcomer.from", "{country}");
    t.say("newcomer.alone");
    t.say("newcomer.see");
    t.paragraph();
    t.say("newcomer.offer");
    t.say("newcomer.talk");
    t.say("newcomer.gift");
    t.paragraph();
    t.maybe(60, "feel.glad");
    t.ending("");
    t.finish("newcomer.summary")
}

/// A day at somebody's work.
pub fn work(mut t: Teller) -> Tale {
    t.draw("job", "trade", &[]);
    let craft = t.form("{job}");
    let does = t.lexicon().table("job").iter().find(|row| row["noun"] == craft);
    let does = does.unwrap_or_else(|| panic!("the table of jobs has no {craft}")).clone();
    let trade = t.lexicon().table("trade").iter().find(|row| row["noun"] == craft);
    for key in ["need", "trouble", "solve"] {
        let cell = trade.map_or("", |row| row[key]);
        t.text(key, cell);
    }
    t.row("job", &does);
    t.alias("w", "f");
    t.words("job1", "<swept>");
    t.draw("x", "food", &[]);
    t.words("food1", "{x.a}");
    t.say("work.morning");
    t.ask("work.job", "a {job}");
    t.maybe(60, "weather0");
    t.say("work.does");
    t.paragraph();
    t.say("work.visit");
    t.ask("work.need", "{need}");
    t.say("work.deal");
    t.say("work.help");
    t.paragraph();
    t.say("work.accident");
    t.say("work.reward");
    t.ask("work.help", "{h}");
    t.maybe(60, "feel.glad");
    t.maybe(40, "moral.help");
    t.finish("work.summary")
}

/// Three swaps at the market.
pub fn trade(mut t: Teller) -> Tale {
    t.draw("o", "toy", &[]);
    t.draw("x1", "toy", &["o"]);
    t.draw("x2", "toy", &["o", "x1"]);
    t.draw("x3", "toy", &["o", "x1", "x2"]);
    t.draw("w", "job", &[]);
    t.stranger("e");
    let [hero, friend, worker, last] = ["{h}", "{f}", "{w}", "{e}"].map(|slot| t.form(slot));
    let [o, x1, x2, x3] = ["{o}", "{x1}", "{x2}", "{x3}"].map(|slot| t.form(slot));
    for (who, thing) in [(&hero, &o), (&friend, &x1), (&worker, &x2), (&last, &x3)] {
        t.world.own(who, thing);
    }
    t.opening();
    t.say("trade.start");
    t.ask("trade.wish", "{x3.a}");
    let scenes = [("trade.one", &friend, &o, &x1), ("trade.two", &worker, &x1, &x2), ("trade.three", &last, &x2, &x3)];
    for (scene, partner, given, got) in scenes {
        t.world.hand(&hero, partner, given);
        t.world.hand(partner, &hero, got);
        t.say(scene);
        if scene == "trade.two" {
            t.maybe(25, "ambient");
            t.paragraph();
        }
    }
    t.ask("trade.first", "{x1.a}");
    t.ask("trade.who", "{e}");
    t.say("trade.end");
    t.ask("trade.end", "{x3.a}");
    t.maybe(60, "feel.glad");
    t.ending("");
    t.finish("trade.summary")
}

/// Stage fright.
pub fn school(mut t: Teller) -> Tale {
    t.words("inst", "<instrument>");
    t.words("inst2", "<instrument>");
    t.words("tune", "[a waltz|a march|a lullaby|an old ballad|a merry dance]");
    t.opening();
    t.say("school.show");
    t.ask("school.inst", "the {inst}");
    t.say("school.practice");
    t.maybe(50, "school.practice");
    t.paragraph();
    t.say("school.fear");
    t.say("school.trick");
    t.ask("school.who", "{f}");
    t.paragraph();
    t.say("school.play");
    t.say("school.applause");
    t.maybe(60, "feel.glad");
    t.ending("moral.try");
    t.finish("school.summary")
}

/// A visit at a sickbed.
pub fn sick(mut t: Teller) -> Tale {
    t.draw("o", "toy", &[]);
    t.draw("x", "food", &[]);
    t.words("food1", "{x.a}");
    t.words("hero", "<hero>");
    t.opening();
    t.say("sick.news");
    t.ask("sick.who", "{f}");
    t.say("sick.plan");
    t.paragraph();
    t.say("sick.bring");
    t.ask("sick.food", "{food1}");
    t.say("sick.show");
    t.maybe(50, "sick.show");
    t.paragraph();
    t.words("later", "<later>");
    t.say("sick.well");
    t.maybe(60, "feel.glad");
    t.ending("moral.help");
    t.finish("sick.summary")
}
