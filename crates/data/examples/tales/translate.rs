//! English sentences with their German translations, built side by side from one plan.
//!
//! German word order is the planner's business: the verb in second place after an adverb, and at the end of a subordinate
//! clause or after an auxiliary.

use crate::german::{Article, Case, Pair, article, noun_phrase};
use crate::lexicon::{Lexicon, Row};
use crate::rng::Rng;

/// A subject with the pronoun that takes its place in a later clause.
struct Subject {
    name: Pair,
    pronoun: Pair,
    class: &'static str,
}

/// Draws words and plans sentences.
pub struct Translator<'a> {
    lexicon: &'a Lexicon,
    rng: Rng,
}

impl<'a> Translator<'a> {
    /// A translator whose sentences depend on `rng` alone.
    pub fn new(lexicon: &'a Lexicon, rng: Rng) -> Self {
        Self { lexicon, rng }
    }

    /// One sentence in both languages.
    pub fn pair(&mut self) -> Pair {
        match self.rng.below(16) {
            0..=2 => self.told().sentence('.'),
            3 => self.perfect().sentence('.'),
            4 => self.modal().sentence('.'),
            5 => self.because().sentence('.'),
            6 => self.giving().sentence('.'),
            7..=8 => self.acting().sentence('.'),
            9 => self.negation().sentence('.'),
            10 => self.place_question().sentence('?'),
            11 => self.object_question().sentence('?'),
            12 => self.comparison().sentence('.'),
            13 => self.relative().sentence('.'),
            14 => self.counted().sentence('.'),
            _ => self.when().sentence('.'),
        }
    }

    fn row(&mut self, table: &str, fits: impl Fn(&Row) -> bool) -> &'a Row {
        let rows: Vec<_> = self.lexicon.table(table).iter().filter(|row| fits(row)).collect();
        self.rng.pick::<&Row>(&rows)
    }

    fn object(&mut self, verb: &Row, case: Case) -> Pair {
        let noun = self.row("de.noun", |noun| allows(verb["class"], noun["class"]));
        let adjective = self.adjective(noun, 50);
        // "forgot the letter", "loves the queen": an object one knows takes "the".
        let kind = if self.rng.chance(50) || noun["class"] == "person" { Article::The } else { Article::A };
        noun_phrase(noun, adjective, kind, case)
    }

    fn adjective(&mut self, noun: &Row, percent: usize) -> Option<&'a Row> {
        let wanted = self.rng.chance(percent);
        wanted.then(|| self.row("de.adj", |adjective| allows(adjective["class"], noun["class"])))
    }

    fn subject(&mut self, classes: &str) -> Subject {
        if self.rng.chance(45) {
            let (rule, en, de) = if self.rng.chance(50) { ("name.he", "he", "er") } else { ("name.she", "she", "sie") };
            let name = *self.rng.pick(self.lexicon.rule(rule));
            return Subject { name: Pair::new(name, name), pronoun: Pair::new(en, de), class: "person" };
        }
        let noun = self.row("de.noun", |noun| allows(classes, noun["class"]));
        let adjective = self.adjective(noun, 30);
        let en = match (noun["class"], noun["en"], noun["g"]) {
            ("person", "girl", _) | ("person", _, "f") => "she",
            ("person", _, "m") => "he",
            _ => "it",
        };
        let de = match (noun["en"], noun["g"]) {
            ("girl", _) | (_, "f") => "sie",
            (_, "m") => "er",
            _ => "es",
        };
        let name = noun_phrase(noun, adjective, Article::The, Case::Nominative);
        Subject { name, pronoun: Pair::new(en, de), class: noun["class"] }
    }

    fn name(&mut self) -> Pair {
        let rule = if self.rng.chance(50) { "name.he" } else { "name.she" };
        let name = *self.rng.pick(self.lexicon.rule(rule));
        Pair::new(name, name)
    }

    fn time(&mut self, tense: &str) -> &'a Row {
        self.row("de.time", |time| time["tense"] == tense)
    }

    fn place(&mut self) -> &'a Row {
        self.row("de.place", |place| place["wet"] == "no")
    }

    /// "Yesterday Tom found a red ball in the garden."
    fn told(&mut self) -> Pair {
        let verb = self.row("de.verb", |_| true);
        let subject = self.subject("person").name;
        let object = self.object(verb, Case::Accusative);
        let past = self.rng.chance(60);
        let (en, de) = if past { (verb["pasten"], verb["past"]) } else { (verb["third"], verb["er"]) };
        let place =
            if self.rng.chance(45) && !["know", "carry"].contains(&verb["base"]) { Some(self.place()) } else { None };
        let [place_en, place_de] = ["en", "de"].map(|key| place.map_or(String::new(), |row| format!(" {}", row[key])));
        let time = self.time(if past { "past" } else { "present" });
        match self.rng.below(3) {
            0 if verb["base"] != "know" => Pair::new(
                format!("{}, {} {en} {}{place_en}", time["en"], subject.en, object.en),
                format!("{} {de} {} {}{place_de}", time["de"], subject.de, object.de),
            ),
            _ => Pair::new(
                format!("{} {en} {}{place_en}", subject.en, object.en),
                format!("{} {de} {}{place_de}", subject.de, object.de),
            ),
        }
    }

    /// "Tom has found the key." / "Tom hat den Schlüssel gefunden."
    fn perfect(&mut self) -> Pair {
        let verb = self.row("de.verb", |verb| verb["base"] != "know");
        let subject = self.subject("person").name;
        let object = self.object(verb, Case::Accusative);
        Pair::new(
            format!("{} has {} {}", subject.en, verb["participle"], object.en),
            format!("{} hat {} {}", subject.de, object.de, verb["part"]),
        )
    }

    /// "Tom wants to find the key." / "Tom will den Schlüssel finden."
    fn modal(&mut self) -> Pair {
        let verb = self.row("de.verb", |verb| !["forget", "know", "love", "lose", "need"].contains(&verb["base"]));
        let subject = self.subject("person").name;
        let object = self.object(verb, Case::Accusative);
        let modals = [
            ("wants to", "will"),
            ("can", "kann"),
            ("must", "muss"),
            ("may", "darf"),
            ("will", "wird"),
            ("should", "soll"),
        ];
        let (en, de) = *self.rng.pick(&modals);
        Pair::new(
            format!("{} {en} {} {}", subject.en, verb["base"], object.en),
            format!("{} {de} {} {}", subject.de, object.de, verb["inf"]),
        )
    }

    /// "Tom was happy because he found the key." / "…, weil er den Schlüssel fand."
    fn because(&mut self) -> Pair {
        let (mood, verbs): (_, &[&str]) = if self.rng.chance(55) {
            ("good", &["find", "buy", "see", "catch", "visit", "feed", "hear", "draw", "share", "paint"])
        } else {
            ("bad", &["lose", "forget", "sell"])
        };
        let verb = self.row("de.verb", |verb| verbs.contains(&verb["base"]));
        let subject = self.subject("person");
        let feeling = self.row("de.feel", |row| row["mood"] == mood);
        let object = self.object(verb, Case::Accusative);
        Pair::new(
            format!(
                "{} was {} because {} {} {}",
                subject.name.en, feeling["en"], subject.pronoun.en, verb["pasten"], object.en
            ),
            format!(
                "{} war {}, weil {} {} {}",
                subject.name.de, feeling["de"], subject.pronoun.de, object.de, verb["past"]
            ),
        )
    }

    /// "Tom gave the girl a flower." / "Tom gab dem Mädchen eine Blume."
    fn giving(&mut self) -> Pair {
        let verb = self.row("de.give", |_| true);
        let subject = self.subject("person").name;
        let receiver = self.row("de.noun", |noun| noun["class"] == "person" && !subject.en.ends_with(noun["en"]));
        let adjective = self.adjective(receiver, 30);
        let receiver = noun_phrase(receiver, adjective, Article::The, Case::Dative);
        let object = self.object(verb, Case::Accusative);
        match self.rng.below(3) {
            0 => Pair::new(
                format!("{} {} {} {}", subject.en, verb["third"], receiver.en, object.en),
                format!("{} {} {} {}", subject.de, verb["er"], receiver.de, object.de),
            ),
            1 => Pair::new(
                format!("{} {} {} {}", subject.en, verb["pasten"], receiver.en, object.en),
                format!("{} {} {} {}", subject.de, verb["past"], receiver.de, object.de),
            ),
            _ => Pair::new(
                format!("{} has {} {} {}", subject.en, verb["participle"], receiver.en, object.en),
                format!("{} hat {} {} {}", subject.de, receiver.de, object.de, verb["part"]),
            ),
        }
    }

    /// Someone who does something somewhere.
    fn action(&mut self) -> (Subject, &'a Row, &'a Row) {
        let subject = self.subject("person;animal");
        let act = self.row("de.act", |act| allows(act["who"], subject.class));
        let wet = if act["base"] == "swim" { "yes" } else { "no" };
        (subject, act, self.row("de.place", |place| place["wet"] == wet))
    }

    /// "The cat slept under the table at night." / "In der Nacht schlief die Katze unter dem Tisch."
    fn acting(&mut self) -> Pair {
        let (subject, act, place) = self.action();
        let past = self.rng.chance(60);
        let (en, de) = if past { (act["pasten"], act["past"]) } else { (act["third"], act["er"]) };
        if act["base"] != "live" && self.rng.chance(50) {
            let time = self.time(if past { "past" } else { "present" });
            return Pair::new(
                format!("{}, {} {en} {}", time["en"], subject.name.en, place["en"]),
                format!("{} {de} {} {}", time["de"], subject.name.de, place["de"]),
            );
        }
        Pair::new(
            format!("{} {en} {}", subject.name.en, place["en"]),
            format!("{} {de} {}", subject.name.de, place["de"]),
        )
    }

    /// "Tom has no key." and "Tom did not find the key."
    fn negation(&mut self) -> Pair {
        let subject = self.subject("person").name;
        if self.rng.chance(40) {
            let noun = self.row("de.noun", |noun| ["thing", "animal"].contains(&noun["class"]));
            let adjective = self.adjective(noun, 30);
            let object = noun_phrase(noun, adjective, Article::No, Case::Accusative);
            return Pair::new(format!("{} has {}", subject.en, object.en), format!("{} hat {}", subject.de, object.de));
        }
        let verb = self.row("de.verb", |_| true);
        let noun = self.row("de.noun", |noun| allows(verb["class"], noun["class"]));
        let adjective = self.adjective(noun, 40);
        let object = noun_phrase(noun, adjective, Article::The, Case::Accusative);
        Pair::new(
            format!("{} did not {} {}", subject.en, verb["base"], object.en),
            format!("{} {} {} nicht", subject.de, verb["past"], object.de),
        )
    }

    /// "Where is the cat?"
    fn place_question(&mut self) -> Pair {
        let noun = self.row("de.noun", |_| true);
        let adjective = self.adjective(noun, 40);
        let thing = noun_phrase(noun, adjective, Article::The, Case::Nominative);
        if self.rng.chance(50) {
            return Pair::new(format!("where is {}", thing.en), format!("wo ist {}", thing.de));
        }
        let place = self.place();
        Pair::new(format!("is {} {}", thing.en, place["en"]), format!("ist {} {}", thing.de, place["de"]))
    }

    /// "What did Tom find in the garden?" and "Did Tom find the key?"
    fn object_question(&mut self) -> Pair {
        let verb = self.row("de.verb", |verb| verb["base"] != "know" && verb["class"] != "person");
        let subject = self.subject("person").name;
        if self.rng.chance(40) {
            let place = self.place();
            return Pair::new(
                format!("what did {} {} {}", subject.en, verb["base"], place["en"]),
                format!("was hat {} {} {}", subject.de, place["de"], verb["part"]),
            );
        }
        let object = self.object(verb, Case::Accusative);
        Pair::new(
            format!("did {} {} {}", subject.en, verb["base"], object.en),
            format!("hat {} {} {}", subject.de, object.de, verb["part"]),
        )
    }

    /// "Tom is faster than the baker."
    fn comparison(&mut self) -> Pair {
        let quality = self.row("de.compare", |_| true);
        let first = self.name();
        let second = if quality["kind"] == "name" || self.rng.chance(30) {
            self.name()
        } else {
            let noun = self.row("de.noun", |noun| noun["class"] == "person");
            noun_phrase(noun, None, Article::The, Case::Nominative)
        };
        Pair::new(
            format!("{} is {} than {}", first.en, quality["en"], second.en),
            format!("{} ist {} als {}", first.de, quality["de"], second.de),
        )
    }

    /// "The dog that sleeps in the garden is old." / "Der Hund, der im Garten schläft, ist alt."
    fn relative(&mut self) -> Pair {
        let class = if self.rng.chance(50) { "animal" } else { "person" };
        let noun = self.row("de.noun", |noun| noun["class"] == class);
        let act = self.row("de.act", |act| allows(act["who"], class) && act["base"] != "swim");
        let quality = self.row("de.adj", |adjective| allows(adjective["class"], class));
        let (subject, place) = (noun_phrase(noun, None, Article::The, Case::Nominative), self.place());
        let pronoun = article(Article::The, noun["g"], Case::Nominative);
        let relative = if class == "person" { "who" } else { "that" };
        Pair::new(
            format!("{} {relative} {} {} is {}", subject.en, act["third"], place["en"], quality["en"]),
            format!("{}, {pronoun} {} {}, ist {}", subject.de, place["de"], act["er"], quality["de"]),
        )
    }

    /// "Tom found three apples in the garden."
    fn counted(&mut self) -> Pair {
        let noun = self.row("de.plural", |_| true);
        let verb = self.row("de.verb", |verb| allows(verb["class"], noun["class"]));
        let subject = self.subject("person").name;
        let numbers = [
            ("two", "zwei"),
            ("three", "drei"),
            ("four", "vier"),
            ("five", "fünf"),
            ("six", "sechs"),
            ("seven", "sieben"),
            ("ten", "zehn"),
            ("twelve", "zwölf"),
        ];
        let (en, de) = *self.rng.pick(&numbers);
        Pair::new(
            format!("{} {} {en} {}", subject.en, verb["pasten"], noun["en"]),
            format!("{} {} {de} {}", subject.de, verb["past"], noun["de"]),
        )
    }

    /// "When Tom slept in the garden, he heard the dog." / "Als Tom im Garten schlief, hörte er den Hund."
    fn when(&mut self) -> Pair {
        let (subject, act, place) = self.action();
        let verb = self.row("de.verb", |verb| ["find", "see", "hear", "forget", "lose"].contains(&verb["base"]));
        let object = self.object(verb, Case::Accusative);
        let (en, de) = *self.rng.pick(&[("when", "als"), ("while", "während"), ("before", "bevor")]);
        Pair::new(
            format!(
                "{en} {} {} {}, {} {} {}",
                subject.name.en, act["pasten"], place["en"], subject.pronoun.en, verb["pasten"], object.en
            ),
            format!(
                "{de} {} {} {}, {} {} {}",
                subject.name.de, place["de"], act["past"], verb["past"], subject.pronoun.de, object.de
            ),
        )
    }
}

/// True if a cell such as `thing;food` names the class.
fn allows(cell: &str, class: &str) -> bool {
    cell.split(';').any(|part| part.trim() == class)
}
