use std::time::Duration;

use proptest::prelude::{prop, prop_assert_eq};
use proptest::proptest;

use super::{Answer, Refused, Verdict, judge, reason};

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        date: None,
        version: None,
        body: body.to_owned(),
    }
}

fn check(status: u16, body: &str, expect: &Verdict) {
    let sent = "a f=1i 1\nbad\nb f=2i 2\na,t= f=1i 3\n";
    let mut verdict = judge(&answer(status, body), sent);
    if let Verdict::Partial(refused) | Verdict::Without { refused, .. } = &mut verdict {
        refused.text.clear();
    }
    assert_eq!(&verdict, expect, "{status} {body}");
}

fn refused(lines: u64, first: &str, reason: &str) -> Refused {
    Refused {
        lines,
        first: first.to_owned(),
        reason: reason.to_owned(),
        text: String::new(),
    }
}

#[test]
fn taken_and_parked() {
    check(204, "", &Verdict::Taken);
    check(202, "\n", &Verdict::Taken);
    for (status, body, reason) in [
        (
            401,
            r#"{"code":"unauthorized","message":"unauthorized access"}"#,
            "401 unauthorized access",
        ),
        (
            404,
            r#"{"error":"database not found: \"x\""}"#,
            "404 database not found: \"x\"",
        ),
        (403, "", "403"),
        (302, "moved", "302 moved"),
        (200, "<html>log in</html>", "200 <html>log in</html>"),
        (
            400,
            r#"{"error":"invalid character in database name"}"#,
            "400 invalid character in database name",
        ),
    ] {
        let reason = reason.to_owned();
        check(status, body, &Verdict::Park { reason });
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [408, 429, 500, 502, 503, 504] {
        let why = format!("{status} busy");
        check(status, "busy", &Verdict::Retry { why, after: None });
    }
    let limited = Answer {
        retry_after: Some("7".to_owned()),
        ..answer(429, "{}")
    };
    let after = Some(Duration::from_secs(7));
    let why = "429 {}".to_owned();
    assert_eq!(judge(&limited, ""), Verdict::Retry { why, after });
}

#[test]
fn influxdb_1_wrote_the_rest() {
    check(
        400,
        r#"{"error":"partial write: unable to parse 'bad': missing fields\nunable to parse 'a,t= f=1i 3': missing tag value dropped=0"}"#,
        &Verdict::Partial(refused(2, "bad", "missing fields")),
    );
    let conflict = "field type conflict: input field \"b\" on measurement \"a\" is type integer, \
                    already exists as type float";
    let body = serde_json::json!({ "error": format!("partial write: {conflict} dropped=3") });
    check(
        400,
        &body.to_string(),
        &Verdict::Partial(refused(3, "", conflict)),
    );
}

#[test]
fn influxdb_2_wrote_nothing_or_the_rest() {
    check(
        400,
        r#"{"code":"invalid","message":"unable to parse 'bad': missing fields\nunable to parse 'a,t= f=1i 3': missing tag value"}"#,
        &Verdict::Without {
            refused: refused(2, "bad", "missing fields"),
            rest: "a f=1i 1\nb f=2i 2\n".to_owned(),
        },
    );
    check(
        422,
        r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=2"}"#,
        &Verdict::Partial(refused(2, "", "points beyond retention policy")),
    );
}

#[test]
fn influxdb_3_lists_what_it_refused() {
    let body = r#"{"error":"partial write of line protocol occurred","data":[
        {"error_message":"no fields","line_number":2,"original_line":"bad"},
        {"error_message":"other","line_number":4,"original_line":"a,t= f=1i 3"}]}"#;
    for status in [400, 422] {
        check(
            status,
            body,
            &Verdict::Partial(refused(2, "bad", "no fields")),
        );
    }
}

#[test]
fn the_refused_lines_are_there_as_they_were_sent() {
    let sent = "a f=1i 1\nbad\nb f=2i 2\na,t= f=1i 3\n";
    let quoted = "unable to parse 'bad': no\nunable to parse 'a,t= f=1i 3': no";
    let listed = serde_json::json!({ "error": "partial write of line protocol occurred", "data": [
        { "error_message": "no", "line_number": 2, "original_line": "b" },
        { "error_message": "no", "original_line": "a,t= f=1i 3" },
    ] });
    let conflict = "partial write: field type conflict: input field \"f\" on measurement \"b\" is \
                    type integer, already exists as type float dropped=1";
    for (body, expect) in [
        (
            serde_json::json!({ "message": quoted }),
            "bad\na,t= f=1i 3\n",
        ),
        (
            serde_json::json!({ "error": format!("partial write: {quoted} dropped=0") }),
            "bad\na,t= f=1i 3\n",
        ),
        (listed, "bad\na,t= f=1i 3\n"),
        (serde_json::json!({ "error": conflict }), "b f=2i 2\n"),
    ] {
        let verdict = judge(&answer(400, &body.to_string()), sent);
        let (Verdict::Partial(refused) | Verdict::Without { refused, .. }) = verdict else {
            panic!("{body}: {verdict:?}");
        };
        assert_eq!(refused.text, expect, "{body}");
    }
}

#[test]
fn what_is_not_explained_is_cut() {
    for body in [
        "",
        "oops",
        r#"{"message":"unable to parse 'another line': x"}"#,
    ] {
        let reason = reason(&answer(400, body));
        check(400, body, &Verdict::Split { reason });
    }
    let reason = "413 Request Entity Too Large".to_owned();
    check(
        413,
        "Request Entity Too Large",
        &Verdict::TooLarge { reason },
    );
}

#[test]
fn reasons_are_short() {
    assert!(reason(&answer(500, &"é".repeat(9000))).len() <= super::SHOWN);
}

proptest! {
    /// Lines may hold anything that looks like the server's own words.
    #[test]
    fn exactly_the_quoted_lines_go(
        lines in prop::collection::btree_set("[a-c]{1,3}( |': |'|unable to parse '|partial write: |dropped=9){0,3}[x-z]", 1..8),
        bad in prop::collection::vec(0_usize..8, 1..4),
    ) {
        let lines: Vec<String> = lines.into_iter().collect();
        let bad: Vec<&String> = bad.iter().filter_map(|at| lines.get(*at)).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let errors: Vec<String> = bad
            .iter()
            .map(|line| format!("unable to parse '{line}': missing fields"))
            .collect();
        let body = serde_json::json!({ "code": "invalid", "message": errors.join("\n") });
        let sent = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let Verdict::Without { rest, .. } =
            judge(&answer(400, &body.to_string()), &sent)
        else {
            panic!("{body}");
        };
        for line in &lines {
            let kept = rest.lines().any(|kept| kept == line);
            // A line that another one quotes within itself may go with it; none may stay.
            if bad.contains(&line) {
                prop_assert_eq!(kept, false, "{} was kept", line);
            }
        }
    }
}
