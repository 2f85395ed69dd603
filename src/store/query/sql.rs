//! `sql`: one statement of the user's, which may read the views and nothing else.
//!
//! Four walls: the connection is read only, `query_only` is on, an authorizer refuses what is not
//! a read (ATTACH and most PRAGMAs among it), and time, rows and bytes are limited.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, Statement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{functions, hex};
use crate::store::{Reader, StoreError};

/// Bytes of a statement.
const MAX_TEXT: usize = 100_000;
/// Bytes of one value, or of a row while it is made.
const MAX_VALUE: i32 = 16 << 20;
/// Bytes of all values that are given back.
const MAX_BYTES: usize = 64 << 20;
/// Instructions of SQLite's machine between two looks at the clock, about 10 us.
const OPS_PER_LOOK: i32 = 1_000;
/// PRAGMAs that only describe.
const DESCRIBING: [&str; 4] = ["table_info", "table_xinfo", "table_list", "function_list"];
/// Functions that reach files or code.
const REACHING: [&str; 4] = ["load_extension", "readfile", "writefile", "edit"];

/// How much a statement may take.
#[derive(Clone, Copy, Debug)]
pub struct SqlLimits {
    /// Rows that are given at most.
    pub rows: usize,
    /// Time after which it is stopped.
    pub time: Duration,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            time: Duration::from_secs(10),
        }
    }
}

/// The answer to a statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SqlResult {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// One array a row; bytes as hexadecimal digits, what is no number as `null`.
    pub rows: Vec<Vec<Value>>,
    /// Whether there were more rows than are given.
    pub truncated: bool,
}

/// What the authorizer refused last.
type Refused = Arc<Mutex<Option<&'static str>>>;

impl Reader {
    /// The answer to one statement over the views.
    ///
    /// # Errors
    /// [`StoreError::Sql`] if it writes, is several, or is wrong; [`StoreError::SqlTimeout`] if it
    /// takes too long; or if the file cannot be read.
    pub fn sql(&self, text: &str, limits: SqlLimits) -> Result<SqlResult, StoreError> {
        if text.len() > MAX_TEXT {
            return Err(StoreError::Sql(format!(
                "the statement is longer than {MAX_TEXT} bytes"
            )));
        }
        let database = self.connect()?;
        let refused = guard(&database, limits.time)?;
        run(&database, text, limits).map_err(|stop| {
            let refused = refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            // What follows asks for names alone: it needs no time limit.
            let _ = database.progress_handler(0, None::<fn() -> bool>);
            match (refused, stop) {
                (Some(why), _) | (None, Stop::Refused(why)) => read_only(why),
                (None, Stop::Failed(error)) => explain(error, limits.time, &|| {
                    tables(&database).unwrap_or_default()
                }),
            }
        })
    }
}

fn guard(database: &Connection, time: Duration) -> rusqlite::Result<Refused> {
    functions::register(database)?;
    database.pragma_update(None, "query_only", true)?;
    database.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    database.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    let end = Instant::now() + time;
    database.progress_handler(OPS_PER_LOOK, Some(move || Instant::now() >= end))?;
    let refused = Refused::default();
    let note = Arc::clone(&refused);
    database.authorizer(Some(move |context: AuthContext<'_>| {
        match refusal(&context.action) {
            None => Authorization::Allow,
            Some(why) => {
                *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                Authorization::Deny
            }
        }
    }))?;
    Ok(refused)
}

/// Why an action is refused; none if it only reads.
fn refusal(action: &AuthAction<'_>) -> Option<&'static str> {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => None,
        AuthAction::Function { function_name } => REACHING
            .iter()
            .any(|name| name.eq_ignore_ascii_case(function_name))
            .then_some("this function reaches beyond the store"),
        AuthAction::Pragma { pragma_name, .. } => (!DESCRIBING
            .iter()
            .any(|name| name.eq_ignore_ascii_case(pragma_name)))
        .then_some("this PRAGMA is refused"),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            Some("ATTACH and DETACH are refused: one statement reads one store")
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Some("transactions are refused: one statement is one")
        }
        _ => Some(WRITES),
    }
}

const WRITES: &str = "the statement writes";

/// Why there is no answer.
enum Stop {
    Refused(&'static str),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn run(database: &Connection, text: &str, limits: SqlLimits) -> Result<SqlResult, Stop> {
    let mut statement = database.prepare(text)?;
    if !statement.readonly() {
        return Err(Stop::Refused(WRITES));
    }
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if columns.is_empty() {
        return Err(Stop::Refused("there is no statement"));
    }
    Ok(read(&mut statement, columns, limits.rows)?)
}

fn read(
    statement: &mut Statement<'_>,
    columns: Vec<String>,
    limit: usize,
) -> rusqlite::Result<SqlResult> {
    let mut result = SqlResult {
        columns,
        rows: Vec::new(),
        truncated: false,
    };
    let mut bytes = 0;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if result.rows.len() >= limit || bytes >= MAX_BYTES {
            result.truncated = true;
            break;
        }
        let mut values = Vec::with_capacity(result.columns.len());
        for place in 0..result.columns.len() {
            let value = row.get_ref(place)?;
            bytes += size(value);
            values.push(json(value));
        }
        result.rows.push(values);
    }
    Ok(result)
}

/// Bytes that a value takes in memory, roughly.
fn size(value: ValueRef<'_>) -> usize {
    size_of::<Value>()
        + match value {
            ValueRef::Text(bytes) => bytes.len(),
            ValueRef::Blob(bytes) => 2 * bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
        }
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        ValueRef::Blob(bytes) => hex(bytes).into(),
    }
}

/// Names of what can be asked.
fn tables(database: &Connection) -> rusqlite::Result<String> {
    let mut statement =
        database.prepare("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    Ok(names.collect::<rusqlite::Result<Vec<_>>>()?.join(", "))
}

fn read_only(why: &str) -> StoreError {
    StoreError::Sql(format!(
        "{why}\n  fix   the store is read only here: use one SELECT"
    ))
}

/// What to tell the user.
fn explain(error: Error, time: Duration, tables: &dyn Fn() -> String) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
        return StoreError::SqlTimeout(time);
    }
    let (message, place) = match error {
        Error::MultipleStatement => return read_only("these are several statements"),
        Error::SqlInputError {
            msg, sql, offset, ..
        } => {
            let at = usize::try_from(offset);
            (msg, at.map_or_else(|_| String::new(), |at| place(&sql, at)))
        }
        Error::SqliteFailure(_, Some(message)) => (message, String::new()),
        Error::InvalidParameterCount(..) => {
            let message = "the statement has parameters (?1, :name, $name), and nothing is given \
                           for them\n  fix   write the values themselves";
            return StoreError::Sql(message.to_owned());
        }
        other => return StoreError::Database(other),
    };
    if message.contains("because it is a view") {
        return read_only(WRITES);
    }
    let hint = if message.contains("no such table") {
        format!("\n  tables  {}", tables())
    } else if message.contains("no such column") {
        "\n  fix   SELECT * FROM the table LIMIT 1 shows its columns".to_owned()
    } else {
        String::new()
    };
    StoreError::Sql(format!("{message}{place}{hint}"))
}

/// The line of a mistake with a mark under its place.
fn place(sql: &str, offset: usize) -> String {
    let Some(before) = sql.get(..offset) else {
        return String::new();
    };
    let number = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[start..].chars().count();
    let line: String = sql[start..]
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    let mark = if column < 200 {
        format!("\n        {}^", " ".repeat(column))
    } else {
        String::new()
    };
    format!(
        "\n  at    line {number}, column {}\n        {line}{mark}",
        column + 1
    )
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let sql = "SELECT *\nFROM größe WHER x";
        let at = sql.find("WHER").unwrap();
        assert_eq!(
            place(sql, at),
            "\n  at    line 2, column 12\n        FROM größe WHER x\n                   ^"
        );
        assert_eq!(place(sql, 999), "");
    }
}
