use std::time::Duration;

use super::{BUCKET, LOOKS_BACK, QUESTIONS, question};

#[test]
fn every_file_is_bounded_in_time_once_for_each_table_and_says_what_it_answers() {
    for asked in QUESTIONS {
        let name = asked.name;
        assert!(
            asked.answers().len() > 20,
            "{name} does not say what it answers"
        );
        assert_eq!(asked.flux.matches("range(").count(), 1, "{name}.flux");
        assert_eq!(asked.flux.matches(LOOKS_BACK[0]).count(), 1, "{name}.flux");
        assert_eq!(asked.flux.matches(BUCKET).count(), 1, "{name}.flux");
        let store = asked.store_as_it_stands();
        for (text, back) in [(asked.sql, LOOKS_BACK[1]), (&store, LOOKS_BACK[2])] {
            assert_eq!(text.matches(back).count(), 1, "{name}.sql");
            assert!(text.starts_with("-- "), "{name}.sql");
        }
        assert!(
            !store.contains("now()") && !store.contains("BIGINT"),
            "{store}"
        );
    }
}

#[test]
fn the_same_comment_heads_the_files_of_a_question() {
    for asked in QUESTIONS {
        let first = |text: &str| {
            let line = text.lines().next().unwrap();
            line.trim_start_matches(['-', '/', ' ']).to_owned()
        };
        let store = asked.store_as_it_stands();
        assert_eq!(first(asked.flux), first(asked.sql), "{}", asked.name);
        assert_eq!(first(&store), first(asked.sql), "{}", asked.name);
    }
}

#[test]
fn every_file_belongs_to_a_question() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("influx");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_question = path
            .extension()
            .is_some_and(|kind| kind == "sql" || kind == "flux");
        if is_question {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                question(name).is_some(),
                "{} is asked by nobody",
                path.display()
            );
            files += 1;
        }
    }
    assert_eq!(files, 2 * QUESTIONS.len());
}

#[test]
fn time_and_bucket_are_written_and_cannot_end_the_text_that_they_stand_in() {
    let asked = question("error_rate").unwrap();
    let flux = asked.flux("a\"b\\${x}\n since = -1h", Duration::from_secs(90));
    assert!(flux.contains("since = -90s\n"), "{flux}");
    assert!(
        flux.contains(r#"bucket = "a\"b\\\${x}\n since = -1h""#),
        "{flux}"
    );
    assert!(
        asked
            .sql(Duration::from_secs(90))
            .contains("now() - INTERVAL '90 seconds'")
    );
    assert!(
        asked
            .store(Duration::from_secs(90))
            .contains("(unixepoch() - 90) * 1000000000")
    );
}
