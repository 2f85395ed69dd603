//! Names that were too many, and dictionaries that alone are larger than the file may be.

use std::sync::Arc;

use rabtrace::config;
use rabtrace::model::{AttributeValue, Hop, OTHER};
use rabtrace::store::Store;

use crate::support::{BASE, clock, config, hop, open, set_clock, spans, trace_id};

#[test]
fn a_trace_shows_the_own_names_of_a_span_that_is_among_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut folded = hop(1, BASE);
    let own = ["shop", "GET /orders/7", "order.7"];
    for (name, own) in Hop::FOLDED.into_iter().zip(own) {
        let own = AttributeValue::Text(Arc::from(own));
        folded.span.attributes.push((Arc::from(name), own));
    }
    folded.span.service = Arc::from(OTHER);
    folded.span.name = Arc::from(OTHER);
    folded.destination = Some(Arc::from(OTHER));
    // One that only says so is not.
    let mut other = hop(2, BASE);
    other.span.attributes.clone_from(&folded.span.attributes);
    store.write(&[spans(vec![folded, other])]).unwrap();
    let reader = store.reader().unwrap();
    for (number, names) in [
        (1, own),
        (2, ["planner", "process planner_queue", "planner_queue"]),
    ] {
        let trace = reader
            .trace(&trace_id(number).to_string())
            .unwrap()
            .unwrap();
        let span = &trace.spans[0];
        let destination = span.destination.as_deref().unwrap();
        assert_eq!([&*span.service_name, &*span.span_name, destination], names);
    }
}

#[test]
fn texts_that_are_larger_than_the_file_may_be_go_with_the_last_hour() {
    set_clock(0);
    let folder = tempfile::tempdir().unwrap();
    let small = config::Store {
        max_bytes: 1 << 20,
        ..config(folder.path())
    };
    let mut store = Store::open(&small, clock).unwrap();
    let named = |number: u64| {
        let mut hop = hop(number, BASE);
        hop.path = Some(Arc::from(format!("{number:0>200} > jobs")));
        hop.step = None;
        hop
    };
    store
        .write(&[spans((0..20_000).map(named).collect())])
        .unwrap();
    assert_eq!(store.retain().unwrap().hours_by_size, 1);
    let number = |table: &str| -> i64 {
        let file = rusqlite::Connection::open(small.file()).unwrap();
        let text = format!("SELECT count(*) FROM {table}");
        file.query_row(&text, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(number("dictionary_paths"), 0);
    // What comes after that is written as ever.
    store.write(&[spans(vec![named(1)])]).unwrap();
    assert_eq!(
        (number("dictionary_paths"), number("dictionary_operations")),
        (1, 1)
    );
    let trace = store.reader().unwrap().trace(&trace_id(1).to_string());
    assert!(trace.unwrap().unwrap().spans[0].path.is_some());
}
