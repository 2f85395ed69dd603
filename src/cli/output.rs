//! The only place that prints.

use std::io::IsTerminal;

use serde::Serialize;
use serde_json::json;

use crate::render;

/// Version of the JSON that `--output json` prints; it grows when a field changes its meaning.
const SCHEMA_VERSION: u32 = 1;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a person.
    Table,
    /// One object: `schema_version` and the rows.
    Json,
    /// One object a line.
    Ndjson,
}

/// Prints rows; `table` renders them for a person.
pub(super) fn rows<T: Serialize>(
    format: Format,
    rows: &[T],
    table: impl FnOnce(&[T]) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => text(&table(rows)),
        Format::Json => object(&json!({ "schema_version": SCHEMA_VERSION, "rows": rows }))?,
        Format::Ndjson => {
            for row in rows {
                text(&serde_json::to_string(row)?);
            }
        }
    }
    Ok(())
}

/// Prints one object, indented where a person reads it.
pub(super) fn object<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let pretty = std::io::stdout().is_terminal();
    text(&if pretty {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    });
    Ok(())
}

/// Prints a text and a line's end.
pub(super) fn text(text: &str) {
    use std::io::Write;
    // A reader that went away, `head` for instance, is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Clears the terminal and prints what of a text it has room for: the next screen comes in a moment.
pub(super) fn screen(content: &str) {
    let fitted = match size() {
        // The cursor stands on a line of its own below.
        Some((columns, rows)) => render::fitted(content, columns, rows.saturating_sub(1)),
        None => content.to_owned(),
    };
    text(&format!("\x1b[H\x1b[2J{fitted}"));
}

/// Prints a remark on stderr.
pub(super) fn remark(text: &str) {
    eprintln!("{text}");
}

/// Prints an error on stderr: what failed and, unless it says so already, the root of it.
pub(super) fn error(error: &anyhow::Error) {
    let told = error.to_string();
    eprintln!("error: {told}");
    let root = error.root_cause().to_string();
    if !told.contains(&root) {
        eprintln!("  why   {root}");
    }
}

/// Whether colours may be used on that stream.
pub(super) fn colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && (stream.is_terminal() || set("CLICOLOR_FORCE"))
}

/// Whether a person looks at stdout.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns of the terminal that a person looks at; none where stdout is none.
pub(super) fn width() -> Option<usize> {
    size().map(|(columns, _)| columns)
}

/// Columns and rows of the terminal.
fn size() -> Option<(usize, usize)> {
    if !is_terminal() {
        return None;
    }
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let size = (usize::from(told.ws_col), usize::from(told.ws_row));
    (size.0 > 0 && size.1 > 0).then_some(size)
}
