use super::{Escaping, QueueRow, expected_info, queue_info, queue_row, split_metric};
use proptest::prelude::*;

fn check(escaping: Escaping, text: &str, expect: Option<(&str, &str, Option<u64>)>) {
    let expect = expect.map(|(vhost, queue, value)| QueueRow {
        vhost: vhost.into(),
        queue: queue.into(),
        value,
    });
    assert_eq!(queue_row(text, escaping), expect, "{text}");
}

fn escape(name: &str) -> String {
    name.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Names made of the very signs that the format is made of.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        proptest::sample::select(vec![
            "\"",
            ",",
            ",queue=",
            "\",queue=\"",
            "} ",
            "\"} 5",
            "\\",
            "{vhost=\"",
            " ",
            "\u{1f600}",
        ])
        .prop_map(str::to_owned),
        "[^\n]{0,8}",
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

#[test]
fn escaped_labels() {
    let check = |text, expect| check(Escaping::Escaped, text, expect);
    check(r#"{vhost="/",queue="a b"} 3"#, Some(("/", "a b", Some(3))));
    check(
        r#"{vhost="/",queue="a\"b\\c\nd"} 3"#,
        Some(("/", "a\"b\\c\nd", Some(3))),
    );
    check(
        r#"{vhost="/",exchange="x,y",queue="a"} 2.0e3 1700000000"#,
        Some(("/", "a", Some(2000))),
    );
    check(r#"{vhost="/",queue="a"} NaN"#, Some(("/", "a", None)));
    for wrong in [
        "",
        "{",
        "{}",
        r#"{vhost="/"} 3"#,
        r#"{vhost="/",queue="a"}"#,
        r#"{vhost="/",queue="a"} -3"#,
        r#"{vhost="/",queue="a"} three"#,
        r#"{vhost="/",queue="a"} 1e400"#,
        r#"{vhost="/",queue="a"#,
    ] {
        check(wrong, None);
    }
}

#[test]
fn labels_of_brokers_that_do_not_escape() {
    let check = |text, expect| check(Escaping::Raw, text, expect);
    check(
        r#"{vhost="/",queue="he said "hi""} 3"#,
        Some(("/", r#"he said "hi""#, Some(3))),
    );
    check(
        r#"{vhost="/",queue="c:\temp\"} 3"#,
        Some(("/", r"c:\temp\", Some(3))),
    );
    check(
        r#"{vhost="/",queue="a\\b"} 3"#,
        Some(("/", r"a\\b", Some(3))),
    );
    check(
        r#"{vhost="a, "b"=",queue="x"} 4"#,
        Some((r#"a, "b"="#, "x", Some(4))),
    );
    check(
        r#"{vhost="/",queue=""} 5"} 3"#,
        Some(("/", r#""} 5"#, Some(3))),
    );
    // Two ways to read them: a guess would make up a virtual host.
    check(r#"{vhost="/",queue="",queue="evil"} 3"#, None);
    check(r#"{vhost="v",queue="",queue="evil"} 3"#, None);
    check(r#"{vhost="/",queue="a",queue="b"} 3"#, None);
}

#[test]
fn lines_that_are_no_rows() {
    assert_eq!(split_metric("up 1"), Some(("up", " 1")));
    assert_eq!(split_metric("up{a=\"b\"} 1"), Some(("up", "{a=\"b\"} 1")));
    for wrong in ["", "up", "b\",queue=\"x\"} 3", "1up 2", "up,2", "é 1"] {
        assert_eq!(split_metric(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_names_come_back_from_their_escaped_form(
        vhost in any::<String>(), queue in any::<String>(), exchange in any::<String>(), value: u64,
    ) {
        let (v, x, q) = (escape(&vhost), escape(&exchange), escape(&queue));
        let text = format!("{{vhost=\"{v}\",exchange=\"{x}\",queue=\"{q}\"}} {value}");
        prop_assert_eq!(
            queue_row(&text, Escaping::Escaped),
            Some(QueueRow { vhost: vhost.into(), queue: queue.into(), value: Some(value) })
        );
    }

    #[test]
    fn any_names_come_back_from_their_raw_form_unless_it_has_two_readings(
        vhost in hostile(), queue in hostile(), value: u64,
    ) {
        let names = format!("{vhost}\",queue=\"{queue}");
        let text = format!("{{vhost=\"{names}\"}} {value}");
        let starts = (0..names.len()).filter(|at| {
            names.get(*at..).is_some_and(|rest| rest.starts_with("\",queue=\""))
        });
        let expect = (starts.count() == 1).then(|| QueueRow {
            vhost: vhost.as_str().into(), queue: queue.as_str().into(), value: Some(value),
        });
        prop_assert_eq!(queue_row(&text, Escaping::Raw), expect);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        for escaping in [Escaping::Escaped, Escaping::Raw] {
            let _ = queue_row(&text, escaping);
        }
        let _ = split_metric(&text);
    }
}

#[test]
fn the_type_of_an_expected_queue_is_that_of_its_row() {
    let row = |queue: &str, rest: &str| format!("{{vhost=\"/\",queue=\"{queue}\"{rest}}} 1");
    let of = |kind: &str, membership: &str| {
        format!(",queue_type=\"rabbit_{kind}_queue\",membership=\"{membership}\"")
    };
    for (queue, rest, expect) in [
        ("q", of("quorum", "leader"), Some("quorum")),
        ("q", of("classic", "leader"), Some("classic")),
        ("q", of("quorum", "follower"), None),
        ("q", of("new", "leader"), None),
        ("q", String::new(), None),
        ("qq", of("quorum", "leader"), None),
        ("q\\\"", of("quorum", "leader"), None),
        ("", of("quorum", "leader"), None),
    ] {
        let row = row(queue, &rest);
        assert_eq!(expected_info(&row, ("/", "q")), expect, "{row}");
        if queue == "q" {
            let read = queue_info(&row).unwrap();
            assert_eq!(read, ("/".into(), "q".into(), expect), "{row}");
        }
    }
    assert_eq!(
        expected_info("{vhost=\"/\",queue=\"q\",queue_type=\"rab", ("/", "q")),
        None
    );
}
