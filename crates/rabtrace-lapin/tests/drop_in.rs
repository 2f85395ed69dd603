//! One source text, compiled against lapin and against this crate. `tests/real/lapin/drop_in.rs` in
//! the repository runs both against a broker.

#[path = "support/promises.rs"]
mod promises;
#[path = "support/program.rs"]
#[macro_use]
mod program;

program!(on_lapin, lapin);
program!(on_traced, rabtrace_lapin::traced);

/// Both programs compiled: naming them is enough.
#[test]
fn one_text_compiles_with_both() {
    let _ = (on_lapin::run, on_traced::run);
    promises::lapins::types();
    promises::ours::types();
}

/// Programs keep futures on stacks and in other futures. 16 KiB is where clippy's `large_futures`
/// begins to complain.
#[test]
fn futures_stay_small() {
    let both = promises::lapins::futures().into_iter();
    for ((name, raw), (_, traced)) in both.zip(promises::ours::futures()) {
        eprintln!("{name:>18} {raw:>6} {traced:>6} bytes");
        assert!(
            traced <= raw + 2_048,
            "{name}: {traced} bytes, lapin's {raw}"
        );
    }
}
