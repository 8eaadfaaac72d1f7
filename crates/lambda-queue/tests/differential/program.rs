//! One step of a program, from a seed. The domain is small, so that steps meet: three keys, a handful of attributes,
//! every type, and every operator and function of the expressions, wrong uses among them.

use lambda_queue::Random as _;
use lambda_queue::memory::World;
use lambda_queue::ports::store::{Action, Item, Names, Query, Value, Values, Write, number, text};

#[derive(Clone, Debug)]
pub enum Step {
    Get(String, Item),
    GetAll(String, Vec<Item>),
    Query(Query),
    /// All pages of a query.
    Drain(Query),
    Write(Write),
    Transact(Vec<Write>),
}

struct Dice(World);

impl Dice {
    fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn once_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn of<'a, T: ?Sized>(&self, all: &[&'a T]) -> &'a T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

pub fn step(seed: u64, things: &str, rows: &str) -> Step {
    let dice = Dice(World::new(seed));
    match dice.below(20) {
        0 => Step::Get(things.to_owned(), thing_key(&dice)),
        1 => {
            let keys = (0..=dice.below(3)).map(|_| thing_key(&dice)).collect();
            Step::GetAll(things.to_owned(), keys)
        }
        2 | 3 => Step::Query(row_query(&dice, rows)),
        4 => Step::Drain(thing_query(&dice, things)),
        5 | 6 => {
            let mut item = item(&dice);
            item.insert("id".to_owned(), text(dice.of(&["a", "b"])));
            item.insert("r".to_owned(), number(dice.of(&["-1", "0", "1", "2", "10", "2.5"])));
            Step::Write(Write::put(rows, item))
        }
        7..=9 => {
            let writes = (0..=dice.below(3)).map(|_| {
                let check = dice.once_in(4);
                write(&dice, things, check)
            });
            // One item twice is refused by the service; DynamoDB Local looks at the conditions first.
            let mut keys = Vec::new();
            let apart = writes.filter(|write| {
                let (Action::Put(item) | Action::Delete(item) | Action::Check(item)) = &write.action else {
                    let Action::Update { key, .. } = &write.action else { return false };
                    return fresh(&mut keys, key);
                };
                fresh(&mut keys, item)
            });
            Step::Transact(apart.collect())
        }
        _ => Step::Write(write(&dice, things, false)),
    }
}

fn fresh(keys: &mut Vec<Value>, item: &Item) -> bool {
    let id = item.get("id").cloned().unwrap();
    let fresh = !keys.contains(&id);
    keys.push(id);
    fresh
}

fn thing_key(dice: &Dice) -> Item {
    if dice.once_in(40) {
        return Item::from([("id".to_owned(), number(1))]);
    }
    Item::from([("id".to_owned(), text(dice.of(&["a", "b", "c"])))])
}

const NUMBERS: [&str; 10] =
    ["-1", "0", "1", "2", "1.50", "1e2", "0.1", "99999999999999999999999999999999999999", "1e-130", "-9.9e125"];

fn value(dice: &Dice, depth: u32) -> Value {
    let many = |dice: &Dice| 0..dice.below(3);
    match dice.below(if depth > 1 { 5 } else { 10 }) {
        0 => number(dice.of(&NUMBERS)),
        1 => text(dice.of(&["", "a", "ab", "b", "N", "S"])),
        2 => Value::Bool(dice.once_in(2)),
        3 => Value::B(dice.of(&["", "a", "ab"]).as_bytes().to_vec()),
        4 => Value::Null(true),
        5 => Value::L(many(dice).map(|_| value(dice, depth + 1)).collect()),
        6 => Value::M(many(dice).map(|_| (dice.of(&["k", "j"]).to_owned(), value(dice, depth + 1))).collect()),
        7 => set(dice, &["a", "b", "ab"], Value::Ss, str::to_owned),
        8 => set(dice, &["1", "2", "1.0", "1e2"], Value::Ns, str::to_owned),
        _ => set(dice, &["a", "b"], Value::Bs, |text| text.as_bytes().to_vec()),
    }
}

/// Seldom an empty set, or one with duplicates: both are refused.
fn set<T>(dice: &Dice, all: &[&str], make: fn(Vec<T>) -> Value, of: fn(&str) -> T) -> Value {
    let members = if dice.once_in(20) { 0 } else { 1 + dice.below(2) };
    make((0..members).map(|_| of(dice.of(all))).collect())
}

fn item(dice: &Dice) -> Item {
    let mut item = Item::new();
    for _ in 0..dice.below(6) {
        let (name, value) = match dice.below(8) {
            0 => ("n", number(dice.of(&NUMBERS))),
            1 => ("s", text(dice.of(&["a", "ab"]))),
            2 => ("l", Value::L((0..dice.below(4)).map(|_| value(dice, 1)).collect())),
            3 => ("m", Value::M([("k".to_owned(), value(dice, 1))].into())),
            4 => ("t", value(dice, 0)),
            5 => ("g", if dice.once_in(15) { number(1) } else { text(dice.of(&["x", "y"])) }),
            6 => ("r", if dice.once_in(15) { text("1") } else { number(dice.of(&["1", "2", "10"])) }),
            _ => ("status", value(dice, 0)),
        };
        item.insert(name.to_owned(), value);
    }
    item
}

fn write(dice: &Dice, table: &str, check: bool) -> Write {
    let mut words = Words { dice, names: Names::new(), values: Values::new() };
    let write = match dice.below(6) {
        _ if check => Write::check(table, thing_key(dice)),
        0 | 1 => {
            let mut item = item(dice);
            item.extend(thing_key(dice));
            Write::put(table, item)
        }
        2 => Write::delete(table, thing_key(dice)),
        _ => {
            let expression = words.update();
            Write::update(table, thing_key(dice), expression)
        }
    };
    let condition = (check || dice.once_in(2)).then(|| words.condition(0).into());
    if dice.once_in(60) {
        words.values.insert(":unused", number(1));
    }
    Write { condition, names: words.names, values: words.values, ..write }
}

/// Writes expressions and keeps their placeholders.
struct Words<'a> {
    dice: &'a Dice,
    names: Names,
    values: Values,
}

impl Words<'_> {
    fn path(&mut self) -> String {
        let dice = self.dice;
        let path = dice.of(&[
            "n",
            "n",
            "s",
            "l",
            "m",
            "t",
            "g",
            "l[0]",
            "l[1]",
            "l[7]",
            "m.k",
            "m.j",
            "m.k.j",
            "m.k[0]",
            "t[0]",
            "gone",
            "#status",
            "#status.k",
            "m.#status",
        ]);
        if path.contains('#') {
            self.names.insert("#status", "status");
        }
        path.to_owned()
    }

    fn given(&mut self, value: Value) -> String {
        let name = format!(":v{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    fn value(&mut self) -> String {
        let value = value(self.dice, 0);
        self.given(value)
    }

    fn operand(&mut self) -> String {
        match self.dice.below(5) {
            // Only where it is read: DynamoDB Local looks at the condition before it refuses to update a key.
            0 | 1 if self.dice.once_in(30) => "id".to_owned(),
            0 | 1 => self.path(),
            2 => format!("size({})", self.path()),
            _ => self.value(),
        }
    }

    fn condition(&mut self, depth: u32) -> String {
        let dice = self.dice;
        match dice.below(if depth > 2 { 10 } else { 14 }) {
            0 => format!("attribute_exists({})", self.path()),
            1 => format!("attribute_not_exists({})", self.path()),
            2 => {
                let kind = dice.of(&["S", "N", "L", "M", "SS", "NS", "BS", "B", "BOOL", "NULL"]);
                let kind = self.given(text(kind));
                format!("attribute_type({}, {kind})", self.path())
            }
            3 => format!("begins_with({}, {})", self.path(), self.operand()),
            4 => format!("contains({}, {})", self.path(), self.operand()),
            5 => format!("{} BETWEEN {} AND {}", self.operand(), self.operand(), self.operand()),
            6 => format!("{} IN ({}, {})", self.operand(), self.operand(), self.operand()),
            7 => {
                let number = number(dice.of(&NUMBERS));
                let (path, value) = (self.path(), self.given(number));
                format!("{path} {} {value}", dice.of(&["=", "<>", "<", "<=", ">", ">="]))
            }
            8 | 9 => {
                let (left, right) = (self.operand(), self.operand());
                format!("{left} {} {right}", dice.of(&["=", "<>", "<", "<=", ">", ">="]))
            }
            10 => format!("{} AND {}", self.condition(depth + 1), self.condition(depth + 1)),
            11 => format!("{} OR {}", self.condition(depth + 1), self.condition(depth + 1)),
            12 => format!("NOT {}", self.condition(depth + 1)),
            _ => format!("({})", self.condition(depth + 1)),
        }
    }

    fn update(&mut self) -> String {
        let dice = self.dice;
        let mut clauses = Vec::new();
        if dice.below(4) > 0 {
            let sets: Vec<String> = (0..=dice.below(2)).map(|_| format!("{} = {}", self.path(), self.term())).collect();
            clauses.push(format!("SET {}", sets.join(", ")));
        }
        if dice.once_in(3) {
            let removes: Vec<String> = (0..=dice.below(2)).map(|_| self.path()).collect();
            clauses.push(format!("REMOVE {}", removes.join(", ")));
        }
        if dice.once_in(4) {
            let (path, value) = (self.path(), self.value());
            clauses.push(format!("ADD {path} {value}"));
        }
        if dice.once_in(5) || clauses.is_empty() {
            let (path, value) = (self.path(), self.value());
            clauses.push(format!("{} {path} {value}", if dice.once_in(10) { "SET" } else { "DELETE" }));
        }
        clauses.join(" ")
    }

    fn term(&mut self) -> String {
        match self.dice.below(8) {
            0 => self.path(),
            1 => format!("if_not_exists({}, {})", self.path(), self.value()),
            2 => {
                let list = Value::L(vec![value(self.dice, 1)]);
                let list = self.given(list);
                let other = self.path();
                if self.dice.once_in(2) {
                    format!("list_append({other}, {list})")
                } else {
                    format!("list_append({list}, {other})")
                }
            }
            3 | 4 => {
                let number = number(self.dice.of(&NUMBERS));
                let (path, value) = (self.path(), self.given(number));
                format!("{path} {} {value}", self.dice.of(&["+", "-"]))
            }
            5 => format!("if_not_exists({}, {}) + {}", self.path(), self.value(), self.value()),
            _ => self.value(),
        }
    }
}

fn row_query(dice: &Dice, table: &str) -> Query {
    let mut words = Words { dice, names: Names::new(), values: Values::new() };
    let id = words.given(text(dice.of(&["a", "b", "c"])));
    let bound = |words: &mut Words<'_>| words.given(number(words.dice.of(&["0", "1", "2.5", "10"])));
    let rest = match dice.below(5) {
        0 | 1 => String::new(),
        2 => format!(" AND r BETWEEN {} AND {}", bound(&mut words), bound(&mut words)),
        _ => format!(" AND r {} {}", dice.of(&["=", "<", "<=", ">", ">=", "<>"]), bound(&mut words)),
    };
    let filter = dice.once_in(3).then(|| words.condition(1));
    let start = dice.once_in(3).then(|| {
        let r = number(dice.of(&["0", "1", "2", "3"]));
        let id = words.values.get(&id).cloned().unwrap();
        Item::from([("id".to_owned(), id), ("r".to_owned(), r)])
    });
    Query {
        table: table.to_owned(),
        key_condition: format!("id = {id}{rest}"),
        filter,
        names: words.names,
        values: words.values,
        descending: dice.once_in(2),
        consistent: dice.once_in(2),
        limit: dice.once_in(2).then(|| 1 + u32::try_from(dice.below(3)).unwrap()),
        start,
        ..Query::default()
    }
}

fn thing_query(dice: &Dice, table: &str) -> Query {
    let mut words = Words { dice, names: Names::new(), values: Values::new() };
    let g = words.given(text(dice.of(&["x", "y"])));
    let rest = if dice.once_in(2) {
        let bound = words.given(number(dice.of(&["1", "2"])));
        format!(" AND r {} {bound}", dice.of(&["<", ">=", ">"]))
    } else {
        String::new()
    };
    let filter = dice.once_in(3).then(|| words.condition(1));
    Query {
        table: table.to_owned(),
        index: Some("by_g".to_owned()),
        key_condition: format!("g = {g}{rest}"),
        filter,
        names: words.names,
        values: words.values,
        descending: dice.once_in(2),
        limit: dice.once_in(2).then_some(1),
        ..Query::default()
    }
}
