//! Commands that the tool's words, the documents and the alarms tell a person to run: the parser takes each of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use orderflow::cli::Cli;

/// What may stand in a command for what only the reader knows.
const VALUES: [&str; 5] = ["0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293", "payment", "poison", "shipped", "7"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files of an ending below a folder.
fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|is| is == ending) {
            found.push(path);
        }
    }
}

/// The words of a command as a shell takes them, up to a comment, to where its output goes or the next command begins. `None`
/// where a quotation does not end.
fn words(command: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for char in command.chars() {
        match (char, quote) {
            ('#', None) if word.is_none() => break,
            (_, Some(open)) if char == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word.take());
    let is_end = |word: &String| {
        word.starts_with(['<', '>']) && !word.ends_with('>') || word == ">" || word == "|" || word == "&&"
    };
    let end = words.iter().position(is_end).unwrap_or(words.len());
    words.truncate(end);
    quote.is_none().then_some(words)
}

/// A word with a value in the place of what is only named: `{name}`, `<order>`, `<case>...`, `...`, `$order`.
fn filled(word: &str, value: &str) -> String {
    if word.starts_with('$') {
        return value.to_owned();
    }
    let mut word = word.replace("...", value);
    for (open, close) in [('{', '}'), ('<', '>')] {
        while let Some((before, (_, after))) =
            word.split_once(open).and_then(|(before, rest)| Some((before, rest.split_once(close)?)))
        {
            word = format!("{before}{value}{after}");
        }
    }
    word
}

/// How the parser takes it, with the values that suit it best.
fn parse(command: &str) -> Result<(), ErrorKind> {
    let words = words(command).unwrap_or_else(|| panic!("a quotation does not end: {command}"));
    let is_open = |word: &&String| word.starts_with('$') || ["{", "<", "..."].iter().any(|open| word.contains(open));
    let open = words.iter().filter(is_open).count();
    let mut kind = ErrorKind::Format;
    for mut choice in 0..VALUES.len().pow(u32::try_from(open).unwrap()) {
        let args = words.iter().map(|word| {
            if !is_open(&word) {
                return word.clone();
            }
            let value = VALUES[choice % VALUES.len()];
            choice /= VALUES.len();
            filled(word, value)
        });
        match Cli::try_parse_from(args.collect::<Vec<_>>()).map_err(|error| error.kind()) {
            Ok(_) | Err(ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => return Ok(()),
            // Of an unfinished command, what is missing says more than what a value is not.
            Err(ErrorKind::MissingRequiredArgument) => kind = ErrorKind::MissingRequiredArgument,
            Err(other) if kind != ErrorKind::MissingRequiredArgument => kind = other,
            Err(_) => {}
        }
    }
    Err(kind)
}

/// What stands between backticks and is a command of the tool.
fn quoted(text: &str) -> Vec<String> {
    let inner = text.split('`').skip(1).step_by(2).map(|inner| inner.split_whitespace().collect::<Vec<_>>().join(" "));
    inner.filter(|inner| inner.starts_with("orderflow ")).collect()
}

/// A source without its comments, and its strings without the breaks of their lines.
fn strings(source: &str) -> String {
    let lines: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let source = lines.join("\n");
    let mut parts = source.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start())
}

#[test]
fn what_the_tool_advises_it_takes() {
    let mut sources = Vec::new();
    for dir in ["crates/orderflow/src", "functions/triage-dead-letters/src"] {
        files(&root().join(dir), "rs", &mut sources);
    }
    let mut advised = Vec::new();
    for path in &sources {
        // What is quoted in a line: in Rust a backtick means nothing, so a stray one must not turn the rest about.
        let text = strings(&std::fs::read_to_string(path).unwrap());
        advised.extend(text.lines().flat_map(quoted).map(|command| (path.clone(), command)));
    }
    for known in ["orderflow breaker probe {name} --reason ...", "orderflow queue list", "orderflow trace {key}"] {
        assert!(advised.iter().any(|(_, command)| command == known), "{known} is not found: {advised:?}");
    }
    for (path, command) in advised {
        assert_eq!(parse(&command), Ok(()), "{}: {command}", path.display());
    }
}

#[test]
fn what_the_documents_tell_people_to_run_is_taken() {
    let mut documents = vec![root().join("README.md")];
    files(&root().join("docs"), "md", &mut documents);
    let (mut whole, mut named) = (0, 0);
    for path in documents {
        let text = std::fs::read_to_string(&path).unwrap();
        // A block of commands is for the shell as it is.
        let joined = text.replace("\\\n", " ");
        for command in joined.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim_start) {
            if command.starts_with("orderflow ") {
                assert_eq!(parse(command), Ok(()), "{}: {command}", path.display());
                whole += 1;
            }
        }
        // In a sentence a command is named; some name several at once, and most leave out what everybody would fill in.
        let sentences: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
        for paragraph in sentences.join("\n").split("\n\n") {
            for command in quoted(paragraph).iter().filter(|command| !command.contains('|')) {
                let taken = parse(command);
                let is_named = matches!(
                    taken,
                    Ok(())
                        | Err(ErrorKind::MissingRequiredArgument
                            | ErrorKind::MissingSubcommand
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
                );
                assert!(is_named, "{}: {command}: {taken:?}", path.display());
                named += 1;
            }
        }
    }
    assert!(whole >= 20 && named >= 20, "they are not found: {whole} {named}");
}

#[test]
fn what_an_alarm_says_is_to_be_run_is_taken() {
    let template = std::fs::read_to_string(root().join("template.yaml")).unwrap();
    let said = template.lines().filter_map(|line| line.trim().strip_prefix("AlarmDescription: \"")?.strip_suffix('"'));
    let commands: Vec<&str> =
        said.filter_map(|said| Some(said.split_once(": ")?.1).filter(|rest| rest.starts_with("orderflow "))).collect();
    assert!(commands.len() >= 9, "they are not found: {commands:?}");
    for command in commands {
        // Its end names the runbook.
        let command = command.split(". docs/").next().unwrap_or_default();
        assert_eq!(parse(command), Ok(()), "{command}");
    }
}

#[test]
fn a_command_that_is_half_said_is_found_out() {
    assert_eq!(parse("orderflow breaker probe {name}"), Err(ErrorKind::MissingRequiredArgument));
    assert_eq!(parse("orderflow case lost"), Err(ErrorKind::InvalidSubcommand));
    assert_eq!(parse("orderflow case list --soon"), Err(ErrorKind::UnknownArgument));
    assert_eq!(parse("orderflow case close <case> --reason 'it is so' > out"), Ok(()));
}
