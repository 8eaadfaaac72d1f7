//! Who is compared, and how each is started.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::dynamodb::{DynamoDb, FLOOR_TABLE, ORDERS_TABLE, OURS_TABLE, POWERTOOLS_TABLE, SAME_TABLE};
use crate::function::Launch;

/// One of the four.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Contestant {
    /// `lambda-queue`.
    Ours,
    /// Powertools for AWS Lambda (Python), under AWS's own runtime interface client.
    PowertoolsPython,
    /// Powertools for AWS Lambda (TypeScript), on Node.
    PowertoolsTypescript,
    /// A bare `lambda_runtime` handler: the same calls and nothing else.
    Floor,
}

impl Contestant {
    /// All, in the order in which they take their turns.
    pub const ALL: [Self; 4] = [Self::Ours, Self::PowertoolsPython, Self::PowertoolsTypescript, Self::Floor];

    /// Its name in tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::PowertoolsPython => "powertools_python",
            Self::PowertoolsTypescript => "powertools_typescript",
            Self::Floor => "floor",
        }
    }
}

/// Which of a contestant's programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// The small works, repeated inside one invocation.
    Works,
    /// A whole function.
    Invocation,
    /// The floor's alone: a whole function that makes `lambda-queue`'s very requests.
    Same,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Invocation => "invocation",
            Self::Same => "same",
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// The compiled Rust programs.
    pub binaries: PathBuf,
    /// What `make bench` installed: `python/`, `typescript/`.
    pub installed: PathBuf,
    /// What a run writes: reports, logs, events.
    pub out: PathBuf,
}

/// How a contestant's program is started.
pub fn launch(contestant: Contestant, program: Program, places: &Places, dynamodb: &DynamoDb) -> Launch {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = vec![
        ("AWS_ENDPOINT_URL".to_owned(), dynamodb.endpoint()),
        ("ORDERS_TABLE".to_owned(), ORDERS_TABLE.to_owned()),
        ("LOG_LEVEL".to_owned(), "info".to_owned()),
    ];
    let command = match contestant {
        Contestant::Ours => {
            env.push(("IDEMPOTENCY_TABLE".to_owned(), OURS_TABLE.to_owned()));
            vec![path(&places.binaries.join("bench-ours")), program.name().to_owned()]
        }
        Contestant::Floor => {
            let records = if program == Program::Same { SAME_TABLE } else { FLOOR_TABLE };
            env.push(("IDEMPOTENCY_TABLE".to_owned(), records.to_owned()));
            // The runtime's own subscriber writes JSON where Lambda's logging controls say so.
            env.push(("AWS_LAMBDA_LOG_FORMAT".to_owned(), "JSON".to_owned()));
            vec![path(&places.binaries.join("bench-floor")), program.name().to_owned()]
        }
        Contestant::PowertoolsPython => {
            env.push(("POWERTOOLS_TABLE".to_owned(), POWERTOOLS_TABLE.to_owned()));
            env.push(("POWERTOOLS_LOG_LEVEL".to_owned(), "INFO".to_owned()));
            env.push(("PYTHONPATH".to_owned(), path(&places.root.join("bench/python"))));
            vec![
                path(&places.installed.join("python/bin/python")),
                "-m".to_owned(),
                "awslambdaric".to_owned(),
                format!("{}.handler", program.name()),
            ]
        }
        Contestant::PowertoolsTypescript => {
            env.push(("POWERTOOLS_TABLE".to_owned(), POWERTOOLS_TABLE.to_owned()));
            env.push(("POWERTOOLS_LOG_LEVEL".to_owned(), "INFO".to_owned()));
            env.push(("NODE_ENV".to_owned(), "production".to_owned()));
            let script = places.installed.join("typescript/dist").join(format!("{}.js", program.name()));
            vec!["node".to_owned(), path(&script)]
        }
    };
    Launch { name: format!("{}-{}", contestant.name(), program.name()), command, env }
}
