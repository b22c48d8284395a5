//! One tale being told: the cast, the world, the paragraphs so far, and the questions that can be asked about it.

use crate::grammar::Narrator;
use crate::lexicon::{Lexicon, Row};
use crate::referent::{Gender, Referent};
use crate::rng::Rng;
use crate::world::World;

/// A finished tale with what is known about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tale {
    /// Paragraphs, joined by blank lines.
    pub text: String,
    /// One sentence that says what happened.
    pub summary: String,
    /// Questions with their short answers, in the order of the story.
    pub questions: Vec<(String, String)>,
}

/// Tells a tale; plots drive it.
#[derive(Debug)]
pub struct Teller<'a> {
    lexicon: &'a Lexicon,
    /// The random numbers of this tale.
    pub rng: Rng,
    /// What is true in this tale.
    pub world: World,
    narrator: Narrator<'a>,
    paragraphs: Vec<String>,
    questions: Vec<(String, String)>,
    names: Vec<&'static str>,
}

impl<'a> Teller<'a> {
    /// Starts a tale: draws the cast (hero `h`, friend `f`, parent `p`), the season and the weather.
    pub fn new(lexicon: &'a Lexicon, rng: Rng) -> Self {
        let mut teller = Self {
            lexicon,
            rng,
            world: World::default(),
            narrator: Narrator::new(lexicon),
            paragraphs: vec![String::new()],
            questions: Vec::new(),
            names: Vec::new(),
        };
        let gender = if teller.rng.chance(50) { Gender::He } else { Gender::She };
        teller.child("h", gender);
        teller.child("f", gender.other());
        let parent = if teller.rng.chance(50) { Gender::He } else { Gender::She };
        teller.parent("p", parent);
        for (key, template) in [
            ("trait", "<trait>"),
            ("ftrait", "<trait>"),
            ("house", "<house>"),
            ("town", "<town>"),
            ("kin", "[parents|family|mother and father]"),
            ("weekday", "<weekday>"),
            ("weekday2", "<weekday>"),
            ("month", "<month>"),
            ("tree", "<tree>"),
            ("color", "<color>"),
            ("country", "<country>"),
        ] {
            teller.words(key, template);
        }
        teller.season(&["spring", "summer", "autumn", "winter"]);
        teller.passer_by();
        teller
    }

    /// Lets the tale happen in one of these seasons.
    pub fn season(&mut self, choices: &[&'static str]) {
        const SEASONS: [&str; 4] = ["spring", "summer", "autumn", "winter"];
        let season = *self.rng.pick(choices);
        let now = SEASONS.iter().position(|name| *name == season).unwrap_or_default();
        // Spring begins in March, the third month.
        let month = self.lexicon.rule("month")[(2 + 3 * now + self.rng.below(3)) % 12];
        self.text("season", season);
        self.text("season2", SEASONS[(now + 1) % 4]);
        self.text("month", month);
        self.words("weather", "<weather.{season}>");
        self.words("birds", "<birds.{season}>");
    }

    /// The words and rules.
    pub fn lexicon(&self) -> &'a Lexicon {
        self.lexicon
    }

    fn child(&mut self, key: &str, gender: Gender) {
        let rule = match gender {
            Gender::He => "name.he",
            Gender::She => "name.she",
        };
        let names: Vec<_> = self.lexicon.rule(rule).iter().filter(|name| !self.names.contains(name)).copied().collect();
        let name = *self.rng.pick(&names);
        self.names.push(name);
        self.person(key, name, gender);
    }

    fn parent(&mut self, key: &str, gender: Gender) {
        let rule = match gender {
            Gender::He => "parent.he",
            Gender::She => "parent.she",
        };
        let name = *self.rng.pick(self.lexicon.rule(rule));
        self.person(key, name, gender);
    }

    /// Binds a slot to a person.
    pub fn person(&mut self, key: &str, name: &str, gender: Gender) {
        self.narrator.bind(key, Referent::Person { name: name.into(), gender });
    }

    /// Binds a slot to a new child or adult with a name of its own; the gender is drawn.
    pub fn stranger(&mut self, key: &str) {
        let gender = if self.rng.chance(50) { Gender::He } else { Gender::She };
        self.child(key, gender);
    }

    /// Lets a slot stand for the same character as another one.
    pub fn alias(&mut self, key: &str, other: &str) {
        let referent = self.narrator.referent(other).clone();
        self.narrator.bind(key, referent);
    }

    /// Binds a slot to plain words.
    pub fn text(&mut self, key: &str, words: &str) {
        self.narrator.bind(key, Referent::Text(words.into()));
    }

    /// Binds a slot to the expansion of a template, fixed for the rest of the tale. The first letter stays as written.
    pub fn words(&mut self, key: &str, template: &str) {
        let text = self.narrator.fragment(template, &mut self.rng);
        self.text(key, &text);
    }

    /// Binds a slot to a row of a table.
    pub fn row(&mut self, key: &str, row: &Row) {
        let thing = Referent::thing(row, &mut self.rng);
        self.narrator.bind(key, thing);
    }

    /// Binds a slot to a random row of a table whose noun is not taken by one of the slots in `but`.
    pub fn draw(&mut self, key: &str, table: &str, but: &[&str]) {
        let taken: Vec<String> = but.iter().map(|key| self.form(&format!("{{{key}}}"))).collect();
        let season = self.form("{season}");
        let fits = |noun: &str| !taken.iter().any(|t| t == noun) && in_season(noun, &season);
        let rows: Vec<_> = self.lexicon.table(table).iter().filter(|row| fits(row["noun"])).collect();
        let row = (*self.rng.pick(&rows)).clone();
        self.row(key, &row);
    }

    /// Draws another animal that happens to pass by.
    pub fn passer_by(&mut self) {
        const ANYWHERE: [&str; 9] = ["cat", "dog", "sparrow", "robin", "crow", "bee", "butterfly", "squirrel", "snail"];
        const WINTER: [&str; 6] = ["cat", "dog", "sparrow", "robin", "crow", "goat"];
        let winter = self.form("{season}") == "winter";
        self.draw_animal("n", if winter { &WINTER } else { &ANYWHERE });
    }

    /// Binds a slot to a random row among those with these nouns that are in season.
    pub fn draw_one(&mut self, key: &str, table: &str, nouns: &[&str]) {
        let season = self.form("{season}");
        let fits = |noun: &str| nouns.contains(&noun) && in_season(noun, &season);
        let rows: Vec<_> = self.lexicon.table(table).iter().filter(|row| fits(row["noun"])).collect();
        let row = (*self.rng.pick(&rows)).clone();
        self.row(key, &row);
    }

    /// Binds a slot to one of the animals named.
    pub fn draw_animal(&mut self, key: &str, nouns: &[&str]) {
        self.draw_one(key, "animal", nouns);
    }

    /// The expansion of a template without capital or full stop.
    pub fn form(&mut self, template: &str) -> String {
        self.narrator.fragment(template, &mut self.rng)
    }

    /// Tells one alternative of a rule.
    pub fn say(&mut self, rule: &str) {
        let sentence = self.narrator.expand(&format!("<{rule}>"), &mut self.rng);
        let paragraph = self.paragraphs.last_mut().expect("a tale has a paragraph from the start");
        if !paragraph.is_empty() {
            paragraph.push(' ');
        }
        paragraph.push_str(&sentence);
    }

    /// Tells a rule in `percent` of 100 cases.
    pub fn maybe(&mut self, percent: usize, rule: &str) {
        if self.rng.chance(percent) {
            self.say(rule);
        }
    }

    /// Starts a new paragraph.
    pub fn paragraph(&mut self) {
        if self.paragraphs.last().is_some_and(|text| !text.is_empty()) {
            self.paragraphs.push(String::new());
            self.narrator.start_paragraph();
        }
    }

    /// The usual beginning: who the hero is, perhaps the friend, perhaps the weather.
    pub fn opening(&mut self) {
        self.say("open");
        self.friend();
        self.maybe(45, "weather");
        self.aside(85);
        if self.rng.chance(30) {
            self.interlude();
        }
        self.ask("who.lived", "{h}");
        self.paragraph();
    }

    /// A small scene beside the plot, in `percent` of 100 cases.
    pub fn aside(&mut self, percent: usize) {
        if !self.rng.chance(percent) {
            return;
        }
        if self.rng.chance(25) {
            self.say("ambient");
        } else {
            self.interlude();
        }
    }

    fn interlude(&mut self) {
        self.draw("shop", "shop", &[]);
        self.draw("k", "job", &[]);
        let table = if self.rng.chance(50) { "animal" } else { "faraway" };
        self.draw("z", table, &[]);
        self.words("kname", "a {k}");
        self.say("interlude");
    }

    /// Presents the friend now or at the first mention.
    pub fn friend(&mut self) {
        if self.rng.chance(60) {
            self.say("friends");
        } else {
            self.narrator.introduce("f", "{h.their} [friend|best friend|friend]");
        }
    }

    /// The usual end.
    pub fn ending(&mut self, moral: &str) {
        if !moral.is_empty() {
            self.maybe(35, moral);
        }
        let friend = self.narrator.knows("f") && self.rng.chance(50);
        self.maybe(75, if friend { "end.friend" } else { "end" });
    }

    /// The expansion of a template that speaks only of characters whom the reader has met, if there is one.
    fn known_only(&mut self, template: &str) -> Option<String> {
        for _ in 0..64 {
            let before = self.narrator.clone();
            self.narrator.start_paragraph();
            let text = self.narrator.expand(template, &mut self.rng);
            if self.narrator.knows_no_more_than(&before) {
                return Some(text);
            }
            self.narrator = before;
        }
        None
    }

    /// Records a question (a rule `q.…`) and its answer (a template), unless they speak of somebody unknown.
    pub fn ask(&mut self, rule: &str, answer: &str) {
        if let (Some(question), Some(answer)) = (self.known_only(&format!("<q.{rule}>")), self.known_only(answer)) {
            self.questions.push((question, answer));
        }
    }

    /// Finishes the tale with the summary rule of its plot.
    pub fn finish(mut self, summary: &str) -> Tale {
        let rule = summary;
        let summary = self.known_only(&format!("<{rule}>")).unwrap_or_else(|| panic!("@{rule} names a stranger"));
        self.paragraphs.retain(|text| !text.is_empty());
        Tale { text: self.paragraphs.join("\n\n"), summary, questions: self.questions }
    }
}

/// False for things and skills that belong to another season.
fn in_season(noun: &str, season: &str) -> bool {
    const SEASONAL: &[(&str, &str)] = &[
        ("sled", "winter"),
        ("sleigh", "winter"),
        ("skating", "winter"),
        ("skiing", "winter"),
        ("swimming", "summer"),
        ("rowing", "summer"),
    ];
    SEASONAL.iter().all(|(thing, when)| *thing != noun || *when == season)
}
