//! The annotated CSV in which InfluxDB 2 answers. Pure.
//!
//! Source: <https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/>. An answer is
//! several tables, each with a line of types and a heading; an error that comes after the answer
//! has begun is a table of its own, inside of a 200.

use serde_json::{Map, Number, Value};

/// Why an answer has no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CsvError {
    /// The server says that it failed.
    Server(String),
    /// It is not annotated CSV.
    Strange(String),
}

const TYPES: &str = "#datatype";

/// The rows of all tables as objects by column.
pub(super) fn rows(text: &str) -> Result<Vec<Map<String, Value>>, CsvError> {
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let mut types: Vec<String> = Vec::new();
    let mut heading: Vec<String> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| CsvError::Strange(error.to_string()))?;
        let fields = || record.iter().map(str::to_owned).collect();
        if record.get(0) == Some(TYPES) {
            types = fields();
            heading.clear();
        } else if record.get(0).is_some_and(|first| first.starts_with('#')) {
            // Other annotations were not asked for.
        } else if is_error(&record) {
            types.clear();
            heading = fields();
        } else if heading.is_empty() {
            if types.is_empty() {
                let start: String = text.chars().take(100).collect();
                return Err(CsvError::Strange(format!("{start:?}")));
            }
            heading = fields();
        } else {
            let row = row(&heading, &types, &record);
            if let Some(Value::String(error)) = row.get("error") {
                return Err(CsvError::Server(error.clone()));
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether this is the heading of an error.
fn is_error(record: &::csv::StringRecord) -> bool {
    let mut names = record.iter().filter(|name| !name.is_empty());
    names.next() == Some("error") && names.next() == Some("reference")
}

fn row(heading: &[String], types: &[String], record: &::csv::StringRecord) -> Map<String, Value> {
    let cell = |(place, name): (usize, &String)| {
        let kind = types.get(place).map_or("string", String::as_str);
        (
            name.clone(),
            value(kind, record.get(place).unwrap_or_default()),
        )
    };
    heading.iter().enumerate().map(cell).collect()
}

fn value(kind: &str, text: &str) -> Value {
    match kind {
        "long" | "unsignedLong" => text.parse::<i64>().map_or(Value::Null, Value::from),
        "double" => {
            let number = text.parse().ok().and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
        "boolean" => text.parse::<bool>().map_or(Value::Null, Value::from),
        "string" => text.into(),
        _ if text.is_empty() => Value::Null,
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CsvError, rows};
    use serde_json::json;

    #[test]
    fn tables_become_rows_by_the_types_of_their_columns() {
        let text = "#datatype,string,long,string,long,double,dateTime:RFC3339\r\n\
                    ,result,table,path,messages,avg_ms,at\r\n\
                    ,_result,0,\"a, \"\"b\"\"\",3,1.5,2026-01-01T00:00:00Z\r\n\
                    \r\n\
                    #datatype,string,long,string,long\r\n\
                    ,result,table,path,messages\r\n\
                    ,_result,1,c,\r\n";
        let rows = rows(text).unwrap();
        assert_eq!(rows[0]["path"], json!("a, \"b\""));
        assert_eq!(rows[0]["messages"], json!(3));
        assert_eq!(rows[0]["avg_ms"], json!(1.5));
        assert_eq!(rows[0]["at"], json!("2026-01-01T00:00:00Z"));
        assert_eq!(
            (&rows[1]["path"], &rows[1]["messages"]),
            (&json!("c"), &json!(null))
        );
    }

    #[test]
    fn an_error_after_the_beginning_of_an_answer_is_an_error() {
        let begun = "#datatype,string,long,long\r\n,result,table,n\r\n,_result,0,1\r\n\r\n";
        for error in [
            "error,reference\r\nthe memory is spent,897\r\n",
            "#datatype,string,string\r\n,error,reference\r\n,the memory is spent,897\r\n",
        ] {
            let told = rows(&format!("{begun}{error}")).unwrap_err();
            assert_eq!(told, CsvError::Server("the memory is spent".to_owned()));
        }
    }

    #[test]
    fn no_rows_are_no_error_and_a_page_is_one() {
        assert_eq!(rows("\r\n"), Ok(Vec::new()));
        assert!(matches!(
            rows("<html>log in</html>"),
            Err(CsvError::Strange(_))
        ));
    }
}
